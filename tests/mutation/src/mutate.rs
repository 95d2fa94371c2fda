// SPDX-License-Identifier: GPL-2.0

//! Changing fields of an image, and sequences of an LZ4 block.

mod lz4;

pub use lz4::lz4;

use crate::field::{Field, Structure};
use crate::places::{Found, Place, Places};
use crate::question::Question;
use crate::seal::seal;
use erodax_format::superblock::SuperBlock;
use fastrand::Rng;

/// Few changes, so that what one of them breaks does not hide the others.
const MAX_CHANGES: usize = 4;

/// Changes some fields of an EROFS image, mostly of the structures in `focus`, or the question at its
/// end, and makes the checksum right. The same seed changes the same image in the same way.
pub fn image(image: &mut [u8], focus: &[Structure], seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let places = Places::find(image);
    if rng.u8(..4) == 0 {
        ask(image, &places, focus, &mut rng);
    }
    for _ in 0..rng.usize(..4) {
        change(image, &places.all, focus, &mut rng);
    }
    seal(image);
}

/// An image whose structures have been found once, to make many mutants of.
pub struct Original {
    image: Vec<u8>,
    places: Places,
}

impl Original {
    /// Finds the structures of an image.
    pub fn new(image: Vec<u8>) -> Self {
        let places = Places::find(&image);
        Original { image, places }
    }

    /// The image with some fields changed, and the checksum right. The same state of `rng` makes
    /// the same mutant.
    pub fn mutant(&self, rng: &mut Rng) -> Vec<u8> {
        let mut mutant = self.image.clone();
        for _ in 0..rng.usize(1..=MAX_CHANGES) {
            change(&mut mutant, &self.places.all, &[], rng);
        }
        seal(&mut mutant);
        mutant
    }
}

/// Changes some fields of a newc archive.
pub fn cpio(archive: &mut [u8], seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let places = Places::find_cpio(archive);
    for _ in 0..rng.usize(1..4) {
        change(archive, &places.all, &[], &mut rng);
    }
}

fn change(image: &mut [u8], places: &[Found], focus: &[Structure], rng: &mut Rng) {
    let same = choose(places, focus, rng);
    let (Some(found), Some(other)) = (rng.choice(&same), rng.choice(&same)) else {
        return scribble(image, rng);
    };
    let (place, other) = (found.place, other.place);
    let range = other.offset..other.offset + place.structure.size();
    match rng.u8(..16) {
        0 => image.copy_within(range, place.offset),
        1 => scribble(image, rng),
        _ => patch(image, &place, &other, rng),
    }
}

/// All structures of one kind. The kinds are equally likely, as there are far more dirents than
/// superblocks.
fn choose(places: &[Found], focus: &[Structure], rng: &mut Rng) -> Vec<Found> {
    let mut kinds: Vec<Structure> = Vec::new();
    for found in places {
        if !kinds.contains(&found.place.structure) {
            kinds.push(found.place.structure);
        }
    }
    let mut focused = kinds.clone();
    focused.retain(|structure| focus.contains(structure));
    let kind = match rng.u8(..4) {
        1.. if !focused.is_empty() => rng.choice(focused),
        _ => rng.choice(kinds),
    };
    let same = |found: &&Found| Some(found.place.structure) == kind;
    places.iter().filter(same).copied().collect()
}

/// Writes a telling value to one field: often what the same field says in another place.
fn patch(image: &mut [u8], place: &Place, other: &Place, rng: &mut Rng) {
    let Some(field) = rng.choice(place.structure.fields()) else {
        return;
    };
    let (Some(old), Some(theirs)) = (
        place.get_field(image, *field),
        other.get_field(image, *field),
    ) else {
        return;
    };
    let new = match rng.u8(..6) {
        0 => theirs,
        _ => telling(image.len(), *field, old, rng),
    };
    place.set_field(image, *field, new);
}

/// A value that code tends to get wrong.
fn telling(image_len: usize, field: Field, old: u64, rng: &mut Rng) -> u64 {
    let bits = u32::try_from(field.size.min(8) * 8).unwrap_or(64);
    let len = u64::try_from(image_len).unwrap_or(u64::MAX);
    match rng.u8(..12) {
        0 => 0,
        1 => u64::MAX,
        // The largest signed number of this size, and one more.
        2 => (1 << (bits - 1)) - rng.u64(..2),
        3..6 => old ^ (1 << rng.u32(..bits)),
        6 => old.wrapping_add(rng.u64(1..=16)),
        7 => old.wrapping_sub(rng.u64(1..=16)),
        // Around powers of two, where blocks and types end.
        8 => (1_u64 << rng.u32(..bits)).wrapping_sub(rng.u64(..2)),
        // Around the image's end, in bytes, blocks and slots of inodes.
        9 => (len >> rng.choice([0, 5, 9, 12]).unwrap_or(0)).wrapping_sub(rng.u64(..3)),
        10 => rng.u64(..64),
        _ => rng.u64(..),
    }
}

/// Writes anything anywhere.
fn scribble(image: &mut [u8], rng: &mut Rng) {
    let len = rng.usize(1..=16).min(image.len());
    let start = rng.usize(..=image.len() - len);
    rng.fill(&mut image[start..start + len]);
}

/// Changes parts of the question, so that it is about an inode that is there, and has what is in
/// focus.
fn ask(image: &mut [u8], places: &Places, focus: &[Structure], rng: &mut Rng) {
    let mut question = Question::of(image);
    let found = choose(&places.all, focus, rng);
    let owner = rng.choice(found).and_then(|found| found.owner);
    if let (Some(nid), Ok(sb)) = (owner, SuperBlock::read(image)) {
        question.inode = nid.wrapping_sub(sb.root_nid());
    }
    if rng.bool() {
        let block = 1_u64 << rng.u32(9..=12);
        let blocks = rng.u64(..8).saturating_mul(block);
        question.pos = match rng.u8(..4) {
            0 => rng.u64(..64) * 12,
            1 => rng.u64(..),
            _ => blocks.wrapping_add(rng.u64(..3)).wrapping_sub(1),
        };
    }
    question.len = rng.u32(..) >> rng.u32(..32);
    if let Some((offset, len)) = rng.choice(&places.names) {
        // The name itself, or one next to it.
        question.name = u32::try_from(*offset).unwrap_or(u32::MAX);
        question.name_len = u32::try_from(*len)
            .unwrap_or(0)
            .saturating_add(rng.u32(..2));
    }
    question.put(image);
}
