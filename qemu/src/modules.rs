// SPDX-License-Identifier: GPL-2.0

//! The distribution's kernel modules, uncompressed as an initrd needs them.

use std::{
    collections::{btree_map::Entry, BTreeMap},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::modinfo;

use crate::{
    cache::{cached, Key},
    Environment,
};

/// The named modules and all that they depend on, by name, as uncompressed files.
///
/// # Errors
/// When the kernel has no such module, or xz cannot unpack it.
pub fn with_dependencies(
    environment: &Environment,
    names: &[impl AsRef<str>],
) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut wanted: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    while let Some(name) = wanted.pop() {
        if let Entry::Vacant(entry) = found.entry(name) {
            let path = unpacked(environment, entry.key())?;
            wanted.extend(modinfo::depends(&fs::read(&path)?));
            entry.insert(path);
        }
    }
    Ok(found)
}

fn unpacked(environment: &Environment, name: &str) -> Result<PathBuf> {
    let packed = find(&environment.kernel_modules.join("kernel"), name)?
        .with_context(|| format!("kernel {} has no module {name}", environment.kernel_release))?;
    if packed
        .extension()
        .is_some_and(|extension| extension == "ko")
    {
        return Ok(packed);
    }
    let key = Key::new("module 1").file(&packed)?;
    cached(&environment.cache(), &format!("{name}.ko"), &key, |path| {
        let status = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(&packed)
            .stdout(File::create(path)?)
            .status()
            .context("cannot run xz (package xz-utils)")?;
        ensure!(status.success(), "xz cannot unpack {}", packed.display());
        Ok(())
    })
}

/// Module names have `_` where file names may have `-`.
fn find(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if module_name(&path).as_deref() == Some(name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file
        .strip_suffix(".ko")
        .or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_module_names() {
        assert_eq!(
            module_name(Path::new("/k/crc32c-cryptoapi.ko.xz")).as_deref(),
            Some("crc32c_cryptoapi")
        );
        assert_eq!(
            module_name(Path::new("/k/erofs.ko")).as_deref(),
            Some("erofs")
        );
        assert_eq!(module_name(Path::new("/k/modules.dep")), None);
    }
}
