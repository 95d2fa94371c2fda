// SPDX-License-Identifier: GPL-2.0

//! The payload, a distribution's root filesystem with a manifest of its regular files, in the
//! forms in which it is booted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};

use crate::{
    cache::{cached, Key},
    initrd::plain_cpio,
    Environment, InitrdBuilder,
};

/// The image's name in the initrd.
pub const IMAGE: &str = "root";

/// The root filesystem's directory.
pub fn tree(environment: &Environment) -> PathBuf {
    environment.payload.join("tree")
}

/// The file with a line of sha256sum for each regular file, by its path below the root.
pub fn manifest(environment: &Environment) -> PathBuf {
    environment.payload.join("manifest.sha256")
}

/// The manifest's digests by path.
///
/// # Errors
/// When it cannot be read.
pub fn digests(environment: &Environment) -> Result<BTreeMap<String, String>> {
    let path = manifest(environment);
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    parse_manifest(&text).with_context(|| path.display().to_string())
}

/// Takes sha256sum's lines apart.
///
/// # Errors
/// When a line is none of them.
pub fn parse_manifest(text: &str) -> Result<BTreeMap<String, String>> {
    text.lines()
        .map(|line| {
            let (digest, path) = line
                .split_once("  ")
                .with_context(|| format!("line {line:?}"))?;
            ensure!(digest.trim_start_matches('\\').len() == 64, "line {line:?}");
            Ok((path.to_owned(), digest.to_owned()))
        })
        .collect()
}

/// The tree as an uncompressed EROFS image, made once.
///
/// # Errors
/// When mkfs.erofs cannot make it.
pub fn image(environment: &Environment) -> Result<PathBuf> {
    let key = Key::new("payload image 1").file(&manifest(environment))?;
    cached(&environment.cache(), "payload.erofs", &key, |image| {
        make_image(&tree(environment), image, &[])
    })
}

/// Makes an EROFS image of a tree, the same each time, with further arguments for mkfs.erofs.
///
/// # Errors
/// When mkfs.erofs cannot make it.
pub fn make_image(tree: &Path, image: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("mkfs.erofs")
        .args([
            "--quiet",
            "-T0",
            "--mkfs-time",
            "-U00000000-0000-0000-0000-000000000000",
        ])
        .args(arguments)
        .args([image, tree])
        .output()
        .context("cannot run mkfs.erofs (package erofs-utils)")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mkfs.erofs: {complaints}");
    Ok(())
}

/// The initrd that boots the payload in place: erodax-init, the modules that it needs, and the
/// image.
///
/// # Errors
/// When it cannot be packed.
pub fn in_place_initrd(environment: &Environment) -> Result<PathBuf> {
    early_part(environment, "in-place")?
        .image(IMAGE, &image(environment)?)?
        .build()
}

/// As [`in_place_initrd`], but for the image.
///
/// # Errors
/// When it cannot be packed.
pub fn initrd_without_image(environment: &Environment) -> Result<PathBuf> {
    early_part(environment, "no-image")?.build()
}

/// The tree as a plain initramfs.
///
/// # Errors
/// When it cannot be written.
pub fn plain_initrd(environment: &Environment) -> Result<PathBuf> {
    plain_cpio(
        environment,
        "payload",
        &tree(environment),
        &manifest(environment),
    )
}

fn early_part<'a>(environment: &'a Environment, name: &str) -> Result<InitrdBuilder<'a>> {
    InitrdBuilder::new(environment, name, "erodax-init")?
        .erodax()?
        .modules(&["overlay"])
}

#[cfg(test)]
mod tests {
    use super::parse_manifest;

    #[test]
    fn a_manifest_has_digests_by_path() {
        let digest = "0".repeat(64);
        let parsed = parse_manifest(&format!("{digest}  usr/bin/a b\n")).unwrap();
        assert_eq!(parsed.get("usr/bin/a b"), Some(&digest));
        assert!(parse_manifest("abc  usr/bin/x\n").is_err());
        assert!(parse_manifest("nonsense\n").is_err());
    }
}
