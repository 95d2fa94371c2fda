// SPDX-License-Identifier: GPL-2.0

//! Where everything lies in the archive that carries the images.
//!
//! The images are bodies of ordinary newc members below a directory that no archive
//! creates: the kernel's unpacker fails to open such a file and skips it, silently and
//! without copying it, while cpio tools list it like any other. A member of zeros before
//! each image moves its body to the wanted alignment. This archive comes first and stays
//! uncompressed, so that no offset depends on a compressor.

use std::fmt::Write;

use crate::newc_writer::{align, prelude_len, trailer_len};

/// The directory that must never exist when the kernel unpacks the images.
pub(crate) const IMAGE_DIR: &str = ".erofs.d";

/// Name of the text member that lists the images: one line each of name, offset from
/// the initrd's start and size, both decimal and in bytes. Only a convenience for
/// people: loaders that concatenate initrds make its offsets wrong.
pub(crate) const MAP_NAME: &str = "erofs.map";

/// Size of the pages that images are mapped in: the least alignment, and what bodies
/// are padded to.
pub const PAGE: u64 = 4096;

/// The longest body that the kernel's unpacker skips correctly: it rounds the size up
/// in 32 bits, and the body must be whole pages.
pub const MAX_BODY: u64 = 0xFFFF_F000;

/// The size of the largest huge pages of common machines.
const MAX_ALIGNMENT: u64 = 1 << 30;

/// The longest name of an image in bytes.
pub const MAX_NAME: usize = 64;

/// Whether images may be aligned to `alignment`.
pub(crate) fn is_valid_alignment(alignment: u64) -> bool {
    alignment.is_power_of_two() && (PAGE..=MAX_ALIGNMENT).contains(&alignment)
}

/// Whether `name` can be an image's: it appears in a path and in the map's lines.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// An image to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Body<'a> {
    /// Name by which the image is chosen.
    pub(crate) name: &'a str,
    /// Length in bytes, a multiple of [`PAGE`].
    pub(crate) len: u64,
}

/// A placed image and the padding before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Name of the member of zeros.
    pub(crate) pad_name: String,
    /// Number of zeros.
    pub(crate) pad_len: u64,
    /// Name of the image's member.
    pub(crate) name: String,
    /// Offset of the image from the initrd's start, a multiple of the alignment.
    pub(crate) offset: u64,
    /// Length of the body in bytes.
    pub(crate) len: u64,
}

/// The whole archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Body of the map member, which comes first.
    pub(crate) map: String,
    /// The images in order.
    pub(crate) slots: Vec<Slot>,
    /// Offset of the first byte after the trailer, a multiple of 4.
    pub(crate) end: u64,
}

impl Layout {
    /// Lays the archive out from `start` (a multiple of 4) on.
    pub(crate) fn plan(start: u64, bodies: &[Body<'_>], alignment: u64) -> Self {
        // The map comes before the images and holds their offsets, which its own length
        // moves. Offsets and so the map's text never shrink as the map grows, and they
        // grow by a digit at a time: this ends.
        let mut map = String::new();
        loop {
            let first = start + prelude_len(MAP_NAME.as_bytes()) + align(len_u64(&map));
            let slots = place(first, bodies, alignment);
            let text = render_map(bodies, &slots);
            if text.len() == map.len() {
                let end = slots.last().map_or(first, |slot| slot.offset + slot.len);
                return Self {
                    map: text,
                    slots,
                    end: end + trailer_len(),
                };
            }
            map = text;
        }
    }
}

fn place(first: u64, bodies: &[Body<'_>], alignment: u64) -> Vec<Slot> {
    let mut position = first;
    bodies
        .iter()
        .enumerate()
        .map(|(index, body)| {
            let pad_name = format!("{IMAGE_DIR}/pad{index}");
            let name = format!("{IMAGE_DIR}/{}.erofs", body.name);
            let pad_start = position + prelude_len(pad_name.as_bytes());
            let prelude = prelude_len(name.as_bytes());
            let offset = (pad_start + prelude).next_multiple_of(alignment);
            position = offset + body.len;
            Slot {
                pad_name,
                pad_len: offset - prelude - pad_start,
                name,
                offset,
                len: body.len,
            }
        })
        .collect()
}

fn render_map(bodies: &[Body<'_>], slots: &[Slot]) -> String {
    bodies
        .iter()
        .zip(slots)
        .fold(String::new(), |mut map, (body, slot)| {
            writeln!(map, "{} {} {}", body.name, slot.offset, slot.len).expect("writes to memory");
            map
        })
}

fn len_u64(text: &str) -> u64 {
    u64::try_from(text.len()).expect("usize is at most 64 bits wide")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bodies(lens: &[u64]) -> Vec<Body<'static>> {
        const NAMES: [&str; 5] = ["root", "a", "usr-local", "x.y", "modules"];
        lens.iter()
            .zip(NAMES)
            .map(|(&len, name)| Body { name, len })
            .collect()
    }

    #[test]
    fn one_image_lies_at_the_first_page() {
        let layout = Layout::plan(0, &bodies(&[8192]), PAGE);
        assert_eq!(layout.map, "root 4096 8192\n");
        // map: 110 + 10 and 15 → 136; pad0: 110 + 14 = 124 → zeros from 260;
        // image: 110 + 20 → 132 before 4096
        let slot = &layout.slots[0];
        assert_eq!((slot.offset, slot.pad_len), (4096, 4096 - 132 - 260));
        assert_eq!(layout.end, 4096 + 8192 + 124);
    }

    #[test]
    fn a_prelude_that_just_fits_needs_no_zeros() {
        // 260 bytes of map and pad0's header, 132 of the image's.
        let start = 4096 - 260 - 132;
        let slot = &Layout::plan(start, &bodies(&[4096]), PAGE).slots[0];
        assert_eq!((slot.offset, slot.pad_len), (4096, 0));
        let next = &Layout::plan(start + 4, &bodies(&[4096]), PAGE).slots[0];
        assert_eq!((next.offset, next.pad_len), (8192, 4092));
    }

    #[test]
    fn without_images_only_map_and_trailer_remain() {
        let layout = Layout::plan(0, &[], PAGE);
        assert_eq!((layout.map.as_str(), layout.end), ("", 120 + 124));
    }

    #[test]
    fn names_stay_plain() {
        for good in ["root", "a", "x.y-z_0", &"n".repeat(MAX_NAME)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"n".repeat(MAX_NAME + 1),
        ] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn alignments() {
        for good in [4096, 65536, 2 << 20, 1 << 30] {
            assert!(is_valid_alignment(good), "{good}");
        }
        for bad in [0, 1, 2048, 4095, 4097, 12288, 1 << 31, 1 << 63] {
            assert!(!is_valid_alignment(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_image_is_aligned_and_nothing_overlaps(
            start in (0u64..1 << 20).prop_map(|n| n * 4),
            pages in prop::collection::vec(1u64..=MAX_BODY / PAGE, 1..5),
            shift in 12u32..=30,
        ) {
            let lens: Vec<u64> = pages.iter().map(|p| p * PAGE).collect();
            let bodies = bodies(&lens);
            let layout = Layout::plan(start, &bodies, 1 << shift);
            let mut position = start + prelude_len(MAP_NAME.as_bytes()) + align(len_u64(&layout.map));
            for (slot, body) in layout.slots.iter().zip(&bodies) {
                prop_assert_eq!(slot.offset % (1 << shift), 0);
                prop_assert_eq!(slot.len, body.len);
                prop_assert!(slot.pad_len < 1 << shift);
                position += prelude_len(slot.pad_name.as_bytes()) + slot.pad_len;
                position += prelude_len(slot.name.as_bytes());
                prop_assert_eq!(slot.offset, position);
                position += slot.len;
                let line = format!("{} {} {}\n", body.name, slot.offset, slot.len);
                prop_assert!(layout.map.contains(&line));
            }
            prop_assert_eq!(layout.end, position + trailer_len());
        }
    }
}
