// SPDX-License-Identifier: GPL-2.0

//! Every place where the code says that something unsafe is sound must be in the table of
//! `docs/unsafe.md`, with the invariant that it stands on.

mod places;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use places::Places;

/// Where code of ours is.
const ROOMS: [&str; 5] = ["src", "dax", "initrd", "qemu", "tests"];

/// Code of ours among others', which clippy does not look at.
const VENDORED: &str = "vendor/lz4_flex/src/block/partial.rs";

/// How many places there are in each function, by file.
type Counts = BTreeMap<String, Places>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

fn sources() -> Result<Vec<String>> {
    let mut found = vec![VENDORED.to_owned()];
    let mut folders: Vec<PathBuf> = ROOMS.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).with_context(|| format!("{folder:?}"))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let text = path.to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if text.ends_with(".rs") && !text.ends_with("_generated.rs") {
                found.push(text);
            }
        }
    }
    Ok(found)
}

fn counted() -> Result<Counts> {
    let mut counts = Counts::new();
    for path in sources()? {
        let places = places::of(&read(&path)?).with_context(|| path.clone())?;
        if !places.is_empty() {
            counts.insert(path, places);
        }
    }
    Ok(counts)
}

/// What is in one of two lists only, as lines of the table.
fn difference<'a>(of: &'a Places, than: &'a Places) -> impl Iterator<Item = String> + 'a {
    let others = of
        .iter()
        .filter(|(name, count)| than.get(*name) != Some(count));
    others.map(|(name, count)| format!("| `{name}` | {count} |"))
}

#[test]
fn every_place_is_in_the_table() -> Result<()> {
    let (counted, listed) = (counted()?, table::read(&read(table::PATH)?)?);
    let files: BTreeSet<&String> = counted.keys().chain(listed.files.keys()).collect();
    let mut wrong = Vec::new();
    for file in files {
        let none = Places::new();
        let code = counted.get(file).unwrap_or(&none);
        let said = listed.files.get(file).unwrap_or(&none);
        let missing = difference(code, said).map(|line| format!("  in the code only: {line}"));
        let gone = difference(said, code).map(|line| format!("  in the table only: {line}"));
        let lines: Vec<String> = missing.chain(gone).collect();
        if !lines.is_empty() {
            wrong.push(format!("### `{file}`\n{}", lines.join("\n")));
        }
    }
    let total: usize = counted.values().flat_map(|places| places.values()).sum();
    println!("unsafe: {total} places in {} files", counted.len());
    ensure!(
        wrong.is_empty(),
        "{} is not what the code is; what is new needs the invariant that it stands on:\n{}",
        table::PATH,
        wrong.join("\n")
    );
    ensure!(
        listed.total == total,
        "{} says {} places, there are {total}",
        table::PATH,
        listed.total
    );
    Ok(())
}

/// What the table stands on is said in it.
#[test]
fn every_invariant_is_explained() -> Result<()> {
    let listed = table::read(&read(table::PATH)?)?;
    let unknown: Vec<_> = listed.used.difference(&listed.explained).collect();
    ensure!(unknown.is_empty(), "not explained: {unknown:?}");
    let unused: Vec<_> = listed.explained.difference(&listed.used).collect();
    ensure!(unused.is_empty(), "nothing stands on {unused:?}");
    Ok(())
}

/// As clippy's `undocumented_unsafe_blocks` has it, for the file that it does not see.
#[test]
fn places_in_the_decoder_have_comments() -> Result<()> {
    let text = read(VENDORED)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("//") || !line.contains("unsafe {") {
            continue;
        }
        let above = lines[..index].iter().rev();
        let mut comment = above.take_while(|line| line.starts_with("//"));
        ensure!(
            comment.any(|line| line.contains("SAFETY:")),
            "{VENDORED}:{}: no SAFETY comment: {line}",
            index + 1
        );
    }
    Ok(())
}
