// SPDX-License-Identifier: GPL-2.0

//! The table of `docs/unsafe.md`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{ensure, Context, Result};

use crate::{places::Places, Counts};

/// Where it is.
pub const PATH: &str = "docs/unsafe.md";

/// What it says.
pub struct Table {
    /// Places in all files.
    pub total: usize,
    /// Places by file and function.
    pub files: Counts,
    /// The invariants that have a line of their own.
    pub explained: BTreeSet<String>,
    /// Those that places stand on.
    pub used: BTreeSet<String>,
}

/// Reads the table. `- **NAME**: …` explains an invariant, `### `FILE`` begins a file's part, in
/// which `| `FUNCTION` | COUNT | NAME, NAME |` is a line, and `Total: COUNT` is the sum.
pub fn read(text: &str) -> Result<Table> {
    let mut table = Table {
        total: 0,
        files: BTreeMap::new(),
        explained: BTreeSet::new(),
        used: BTreeSet::new(),
    };
    let mut file = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("- **") {
            let (name, _) = rest.split_once("**").with_context(|| line.to_owned())?;
            table.explained.insert(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("### `") {
            let path = rest.strip_suffix('`').with_context(|| line.to_owned())?;
            file = Some(table.files.entry(path.to_owned()).or_default());
        } else if let Some(rest) = line.strip_prefix("Total: ") {
            table.total = rest.parse().with_context(|| line.to_owned())?;
        } else if let Some(rest) = line.strip_prefix("| `") {
            let places = file.as_mut().context("a line before the first file")?;
            let names = row(rest, places).with_context(|| line.to_owned())?;
            table.used.extend(names);
        }
    }
    Ok(table)
}

/// Takes a line in; returns the invariants in it.
fn row(rest: &str, places: &mut Places) -> Result<Vec<String>> {
    let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
    let [name, count, names, ""] = cells.as_slice() else {
        anyhow::bail!("not three columns");
    };
    let name = name.strip_suffix('`').context("no function")?;
    let known = places.insert(name.to_owned(), count.parse()?);
    ensure!(known.is_none(), "a second line for {name}");
    ensure!(!names.is_empty(), "it stands on nothing");
    Ok(names.split(", ").map(str::to_owned).collect())
}
