// SPDX-License-Identifier: GPL-2.0

//! The physical address space as /proc/iomem shows it to root.

use std::fs;

use anyhow::{Context, Result};

/// One line of /proc/iomem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// How many resources it lies inside.
    pub depth: usize,
    /// First address.
    pub start: u64,
    /// Last address.
    pub last: u64,
    /// Whose it is.
    pub name: String,
}

/// Reads /proc/iomem.
///
/// # Errors
/// When it cannot be read or has an unknown form.
pub fn resources() -> Result<Vec<Resource>> {
    let text = fs::read_to_string("/proc/iomem").context("cannot read /proc/iomem")?;
    text.lines()
        .map(|line| parse(line).with_context(|| format!("/proc/iomem has {line:?}")))
        .collect()
}

/// `START-LAST : NAME`, indented by two spaces per level.
fn parse(line: &str) -> Option<Resource> {
    let (range, name) = line.trim_start().split_once(" : ")?;
    let (start, last) = range.split_once('-')?;
    Some(Resource {
        depth: (line.len() - line.trim_start().len()) / 2,
        start: u64::from_str_radix(start, 16).ok()?,
        last: u64::from_str_radix(last, 16).ok()?,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_nest_by_indentation() {
        let expected = Resource {
            depth: 1,
            start: 0x100_0000,
            last: 0x1ff_ffff,
            name: "Kernel code".into(),
        };
        assert_eq!(parse("  01000000-01ffffff : Kernel code"), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }
}
