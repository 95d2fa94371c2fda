// SPDX-License-Identifier: GPL-2.0

//! The tree's paths, known before anything of it is touched.

use std::{ffi::CString, fs};

use anyhow::{Context, Result};

use crate::plan::{FILES, NAMES};

/// Paths below the tree's root.
pub(super) struct Lists {
    /// Of the regular files.
    pub(super) files: Vec<CString>,
    /// Of everything, in random order.
    pub(super) names: Vec<CString>,
}

impl Lists {
    /// Reads the lists. An unpacked tree lies beside them, and is to be as it is elsewhere: they
    /// are removed, and this program as well.
    pub(super) fn take() -> Result<Self> {
        let lists = Self {
            files: take(FILES)?,
            names: take(NAMES)?,
        };
        fs::remove_file("/init").context("cannot remove this program")?;
        Ok(lists)
    }
}

fn take(path: &str) -> Result<Vec<CString>> {
    let bytes = fs::read(path).with_context(|| format!("no {path} in the initrd"))?;
    fs::remove_file(path).with_context(|| format!("cannot remove {path}"))?;
    Ok(parse(&bytes))
}

/// NUL after each.
fn parse(bytes: &[u8]) -> Vec<CString> {
    bytes
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|path| CString::from_vec_with_nul(path.to_vec()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_path_ends_with_a_nul() {
        assert_eq!(parse(b"a b\0c\0cut"), [c"a b".to_owned(), c"c".to_owned()]);
        assert!(parse(b"").is_empty());
    }
}
