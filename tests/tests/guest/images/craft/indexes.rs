// SPDX-License-Identifier: GPL-2.0

//! Compressed indexes with what the format allows and mkfs.erofs does not write.

use anyhow::{ensure, Context, Result};
use erodax_mutation::{
    field::Structure,
    places::{Index, Place, SUPER_BLOCK},
};
use erodax_tests::image::{
    SPARSE_BY_COUNT, SPARSE_BY_FLAG, SPARSE_EACH, SPARSE_FIRST, SPARSE_INSIDE,
};

use super::Edit;

/// `EROFS_FEATURE_INCOMPAT_COMPR_HEAD2`
const COMPR_HEAD2: u64 = 1 << 3;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`
const BIG_PCLUSTERS: u64 = 3 << 1;

/// `Z_EROFS_LCLUSTER_TYPE_*`
const HEAD1: u64 = 1;
const NON_HEAD: u64 = 2;
const HEAD2: u64 = 3;
/// `Z_EROFS_LI_HOLE`
const LI_HOLE: u64 = 1 << 14;
/// `Z_EROFS_LI_D0_CBLKCNT`, which has a bit more than the offsets in an lcluster of 4 KiB.
const CBLKCNT: u64 = 1 << 11;
const LOW_BITS: usize = 12;
/// Both halves of the place of a hole's data.
const NOWHERE: u64 = 0xffff;

/// Files of many pclusters of every kind.
const LARGE_FILES: [&str; 5] = [
    "text/300001",
    "mixed/100000",
    "mixed/large",
    "mixed/with-zeros",
    "again/twice",
];

/// What an index has for one lcluster. Those of packs are not made of whole bytes.
#[derive(Clone, Copy)]
struct Element {
    /// The structure that it is, or is in.
    place: Place,
    /// The bits of the image that its type starts at, its distance, and its offset.
    type_bit: usize,
    low_bit: usize,
    offset_bit: usize,
}

impl Element {
    /// Those of a full index or of a pack.
    fn all_of(place: Place) -> Vec<Self> {
        let start = 8 * place.offset;
        let in_pack = |number: usize, bits: usize| {
            let low_bit = start + number * bits;
            Self {
                place,
                type_bit: low_bit + LOW_BITS,
                low_bit,
                offset_bit: low_bit,
            }
        };
        match place.structure {
            Structure::SmallPack => (0..2).map(|number| in_pack(number, 16)).collect(),
            Structure::LargePack => (0..16).map(|number| in_pack(number, 14)).collect(),
            _ => vec![Self {
                place,
                type_bit: start,
                low_bit: start + 8 * Structure::LclusterIndex.field("delta0").offset,
                offset_bit: start + 8 * Structure::LclusterIndex.field("di_clusterofs").offset,
            }],
        }
    }

    fn kind(&self, bytes: &[u8]) -> u64 {
        bits(bytes, self.type_bit, 2)
    }

    /// Whether an extent starts in it, if it is lcluster `lcn` of a file of so many bytes: the last
    /// one can have a head at the end of the file.
    fn has_start(&self, bytes: &[u8], lcn: usize, size: u64) -> bool {
        let offset = bits(bytes, self.offset_bit, LOW_BITS);
        let start = u64::try_from(lcn).map(|lcn| (lcn << LOW_BITS) + offset);
        self.kind(bytes) != NON_HEAD && start.is_ok_and(|start| start < size)
    }

    /// The number of blocks, if it has it.
    fn block_count(&self, bytes: &[u8]) -> Option<u64> {
        let low = bits(bytes, self.low_bit, LOW_BITS);
        (self.kind(bytes) == NON_HEAD && low & CBLKCNT != 0).then_some(low & !CBLKCNT)
    }
}

/// A number whose lowest bit is bit `start` of the image.
fn bits(bytes: &[u8], start: usize, count: usize) -> u64 {
    (start..start + count).rev().fold(0, |number, bit| {
        (number << 1) | u64::from((bytes[bit / 8] >> (bit % 8)) & 1)
    })
}

fn set_bits(bytes: &mut [u8], start: usize, count: usize, number: u64) {
    for (place, bit) in (start..start + count).enumerate() {
        let mask = 1 << (bit % 8);
        match (number >> place) & 1 {
            0 => bytes[bit / 8] &= !mask,
            _ => bytes[bit / 8] |= mask,
        }
    }
}

/// The header and the elements of a compressed file.
fn index(image: &Edit, path: &str) -> Result<(Place, Vec<Element>)> {
    let found = image.file(path)?;
    ensure!(
        found.inode.layout.is_compressed(),
        "{path} is not compressed"
    );
    let body = found.behind_xattrs()?;
    let index = Index::find(&image.bytes, &image.sb, &found.inode, body, usize::MAX);
    let index = index.with_context(|| format!("{path} has no index"))?;
    ensure!(index.lcluster_bits == 12, "lclusters of other sizes");
    let mut elements: Vec<_> = index
        .elements
        .into_iter()
        .flat_map(Element::all_of)
        .collect();
    elements.truncate(usize::try_from(index.count)?);
    Ok((index.header, elements))
}

pub(super) fn second_heads(image: &mut Edit) -> Result<()> {
    image.set_bits(SUPER_BLOCK, "feature_incompat", COMPR_HEAD2)?;
    for path in LARGE_FILES {
        let (header, elements) = index(image, path)?;
        let heads = second_heads_of(&mut image.bytes, header, &elements);
        ensure!(heads > 0, "{path} has no heads");
    }
    Ok(())
}

/// All heads, if the file has another algorithm than LZ4, which the first type has then; otherwise
/// every second one. Returns how many there are.
fn second_heads_of(bytes: &mut [u8], header: Place, elements: &[Element]) -> usize {
    let algorithm = header.get(bytes, "h_algorithmtype").unwrap_or(0) & 0xf;
    header.set(bytes, "h_algorithmtype", algorithm << 4);
    let advise = header.get(bytes, "h_advise").unwrap_or(0);
    if advise & BIG_PCLUSTERS != 0 {
        header.set(bytes, "h_advise", advise | BIG_PCLUSTERS);
    }
    let is_head = |element: &&Element| element.kind(bytes) == HEAD1;
    let heads: Vec<_> = elements.iter().filter(is_head).copied().collect();
    let each = if algorithm == 0 { 2 } else { 1 };
    let chosen = heads.iter().step_by(each);
    let count = chosen.len();
    chosen.for_each(|head| set_bits(bytes, head.type_bit, 2, HEAD2));
    count
}

pub(super) fn holes(image: &mut Edit) -> Result<()> {
    make_sparse(image, SPARSE_BY_FLAG, by_flag)?;
    make_sparse(image, SPARSE_BY_COUNT, by_count)
}

pub(super) fn holes_of_no_blocks(image: &mut Edit) -> Result<()> {
    make_sparse(image, SPARSE_BY_COUNT, by_count)
}

pub(super) fn holes_inside(image: &mut Edit) -> Result<()> {
    make_sparse(image, SPARSE_INSIDE, by_flag)
}

/// Makes holes of some extents of a file: `make_hole` changes the elements of each, from its head
/// on.
fn make_sparse(
    image: &mut Edit,
    path: &str,
    make_hole: fn(&mut [u8], &[Element]) -> Result<()>,
) -> Result<()> {
    let (_, elements) = index(image, path)?;
    let size = image.file(path)?.inode.size;
    let has_start = |lcn: &usize| elements[*lcn].has_start(&image.bytes, *lcn, size);
    let heads: Vec<usize> = (0..elements.len()).filter(has_start).collect();
    let chosen = heads.iter().skip(SPARSE_FIRST).step_by(SPARSE_EACH);
    ensure!(chosen.len() > 1, "{path} has {} extents", heads.len());
    for lcn in chosen {
        make_hole(&mut image.bytes, &elements[*lcn..])
            .with_context(|| format!("lcluster {lcn} of {path}"))?;
    }
    Ok(())
}

fn by_flag(bytes: &mut [u8], elements: &[Element]) -> Result<()> {
    let head = elements[0].place;
    ensure!(
        head.structure == Structure::LclusterIndex,
        "it has no flags"
    );
    let advise = head.get(bytes, "di_advise").unwrap_or(0);
    head.set(bytes, "di_advise", advise | LI_HOLE);
    // Nobody needs it.
    head.set(bytes, "delta0", NOWHERE);
    head.set(bytes, "delta1", NOWHERE);
    Ok(())
}

fn by_count(bytes: &mut [u8], elements: &[Element]) -> Result<()> {
    let second = elements.get(1).context("the last lcluster")?;
    let count = second
        .block_count(bytes)
        .context("it has no number of blocks")?;
    ensure!(count > 0, "it is a hole");
    set_bits(bytes, second.low_bit, LOW_BITS, CBLKCNT);
    Ok(())
}
