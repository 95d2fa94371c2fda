// SPDX-License-Identifier: GPL-2.0

//! Encoded extents in records of another size.

use anyhow::{ensure, Context, Result};
use erodax_format::superblock::SuperBlock;
use erodax_mutation::field::Structure;
use erodax_mutation::places::{Found, Place, Places};
use erodax_mutation::seal::seal;

/// Bytes of a record.
pub(crate) const SIZES: [usize; 4] = [4, 8, 16, 32];

/// Bits of `h_advise`: the kind of index, and log2 of a record's size, less 2.
const EXTENTS: u64 = 1 << 0;
const RECORD_SIZE_SHIFT: u32 = 1;

/// An image whose files have records of `size` bytes: copies of the inodes, with other indexes, are
/// behind the image, and directory entries lead to them. Short records lack what longer ones say, so
/// that the data is another.
pub(crate) fn resized(image: &[u8], size: usize) -> Result<Vec<u8>> {
    let sb = SuperBlock::read(image)?;
    let first = usize::try_from(sb.inode_offset(0)?)?;
    let places = Places::find(image).all;
    let mut bytes = image.to_vec();
    let mut count = 0;
    for header in with_structure(&places, Structure::MapHeader) {
        let nid = header.owner.context("a header without an inode")?;
        let own = |place: &&Found| place.owner == Some(nid);
        let records: Vec<Place> = (places.iter().filter(own))
            .filter(|found| is_record(found.place.structure))
            .map(|found| found.place)
            .collect();
        if records.is_empty() {
            continue;
        }
        let start = usize::try_from(sb.inode_offset(nid)?)?;
        bytes.resize((bytes.len() - first).next_multiple_of(32) + first, 0);
        let new = bytes.len();
        bytes.extend_from_slice(&image[start..header.place.offset + 8]);
        let header = Place {
            offset: header.place.offset - start + new,
            ..header.place
        };
        write_records(&mut bytes, image, header, &records, size);
        let new = u64::try_from((new - first) / 32)?;
        for entry in with_structure(&places, Structure::Dirent) {
            if entry.place.get(image, "nid") == Some(nid) {
                entry.place.set(&mut bytes, "nid", new);
            }
        }
        count += 1;
    }
    ensure!(count > 0, "no file has encoded extents");
    // Its block has some of what was changed.
    seal(&mut bytes);
    Ok(bytes)
}

fn with_structure(places: &[Found], structure: Structure) -> impl Iterator<Item = &Found> {
    let is_one = move |found: &&Found| found.place.structure == structure;
    places.iter().filter(is_one)
}

fn is_record(structure: Structure) -> bool {
    use Structure::{Extent16, Extent32, Extent4, Extent8};
    matches!(structure, Extent4 | Extent8 | Extent16 | Extent32)
}

/// Writes the records behind the header at the end of the image.
fn write_records(bytes: &mut Vec<u8>, image: &[u8], header: Place, records: &[Place], size: usize) {
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let advise = header.get(bytes, "h_advise").unwrap_or(0) & !(3 << RECORD_SIZE_SHIFT);
    let size_bits = u64::from((size / 4).trailing_zeros());
    header.set(
        bytes,
        "h_advise",
        advise | EXTENTS | (size_bits << RECORD_SIZE_SHIFT),
    );
    // The number of records, or lclusters of one block.
    header.set(bytes, "h_fragmentoff", if size > 8 { count } else { 0 });
    header.set(bytes, "h_algorithmtype", 0);
    header.set(bytes, "h_clusterbits", 0);
    bytes.resize(bytes.len().next_multiple_of(size), 0);
    if size == 4 {
        let base = match records[0].structure {
            Structure::Extent4 => None,
            _ => records[0].get(image, "pstart_lo"),
        };
        bytes.extend(base.unwrap_or(0).to_le_bytes());
    }
    for record in records {
        let mut longest = [0; 32];
        let known = record.structure.size().min(size);
        longest[..known].copy_from_slice(&image[record.offset..][..known]);
        bytes.extend_from_slice(&longest[..size]);
    }
}
