// SPDX-License-Identifier: GPL-2.0

//! How features and UUIDs are written for people.

use crate::superblock::SuperBlock;
use core::fmt;

/// Bits of `feature_compat`, by `EROFS_FEATURE_COMPAT_*` of the kernel.
const COMPAT: [&str; 6] = [
    "sb_chksum",
    "mtime",
    "xattr_filter",
    "shared_ea_in_metabox",
    "plain_xattr_pfx",
    "ishare_xattrs",
];

/// Bits of `feature_incompat`, by `EROFS_FEATURE_INCOMPAT_*`; some have two meanings.
const INCOMPAT: [&str; 9] = [
    "lz4_0padding",
    "compr_cfgs/big_pcluster",
    "chunked_file",
    "device_table/compr_head2",
    "ztailpacking",
    "fragments/dedupe",
    "xattr_prefixes",
    "48bit",
    "metabox",
];

/// A feature of an image, shown by its name; one that has none as `compat:` or `incompat:` and
/// the bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Which of the two fields it is in.
    field: &'static str,
    bit: u32,
    name: Option<&'static str>,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{:#x}", self.field, self.bit),
        }
    }
}

impl SuperBlock {
    /// The features that the image says it has: the compatible ones first, by bit.
    pub fn features(&self) -> impl Iterator<Item = Feature> {
        features_of(self.feature_compat(), "compat", &COMPAT).chain(features_of(
            self.feature_incompat(),
            "incompat",
            &INCOMPAT,
        ))
    }
}

fn features_of(
    bits: u32,
    field: &'static str,
    names: &'static [&'static str],
) -> impl Iterator<Item = Feature> {
    // As many as there are bits, those without a name included.
    let names = names.iter().copied().map(Some);
    let names = names.chain(core::iter::repeat(None));
    (0..u32::BITS)
        .map(|index| 1 << index)
        .zip(names)
        .filter(move |(bit, _)| bits & bit != 0)
        .map(move |(bit, name)| Feature { field, bit, name })
}

/// A UUID, shown in the usual form of RFC 9562.
#[derive(Clone, Copy, Debug)]
pub struct Uuid<'a>(pub &'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{array, string::ToString, vec::Vec};

    fn shown(bits: u32) -> Vec<std::string::String> {
        let features = features_of(bits, "compat", &COMPAT);
        features.map(|feature| feature.to_string()).collect()
    }

    #[test]
    fn features_show_by_name() {
        assert_eq!(shown(0), Vec::<&str>::new());
        assert_eq!(shown(0b10_0011), ["sb_chksum", "mtime", "ishare_xattrs"]);
    }

    #[test]
    fn unknown_features_show_as_bits() {
        assert_eq!(
            shown(0x8000_0041),
            ["sb_chksum", "compat:0x40", "compat:0x80000000"]
        );
    }

    #[test]
    fn uuids_have_their_usual_form() {
        let bytes: [u8; 16] = array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(
            Uuid(&bytes).to_string(),
            "00010203-0405-0607-0809-0a0b0c0d0e0f"
        );
    }
}
