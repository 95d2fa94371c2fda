// SPDX-License-Identifier: GPL-2.0

//! What the kernel's own EROFS serves, erodax must serve alike: what it refuses, erodax may refuse
//! or serve. The exceptions have a class each, by a rule; `docs/fuzzing.md` says why.

#[cfg(test)]
mod crafted;
mod elements;
mod map;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, iter, ops::Range};

use erodax_format::{
    inode::Inode,
    superblock::SuperBlock,
    xattr::{Prefixes, Xattrs, NAME_MAX},
    Error,
};
use map::Map;

use crate::{
    images::{PMEM_SIZE, SIZE},
    transcript::{Answer, Question, Transcript, Value},
};

const EUCLEAN: i32 = 117;
/// Which of the numbers in [`Question::Attributes`] is the size.
const ATTRIBUTE_SIZE: usize = 6;
/// From this number on, the byte address of an inode does not fit into 64 bits.
const WRAPS: u64 = 1 << 59;
/// Marks the number of an inode in the metabox.
const METABOX: u64 = 1 << 63;

const OUTSIDE: &str = "behind the end of the metabox";
const FAR: &str = "the place of an inode wraps around";

fn is_far(nid: u64) -> bool {
    nid & !METABOX >= WRAPS
}

/// An answer that is not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its class; `None` if nobody knows why.
    pub class: Option<String>,
    /// What was asked, and both answers.
    pub text: String,
}

/// The image that both have had.
pub struct Image<'a> {
    /// As erodax sees it: with the zeros behind it, if it reaches there.
    bytes: Cow<'a, [u8]>,
    sb: Result<SuperBlock, Error>,
}

impl<'a> Image<'a> {
    /// Looks at its superblock, if it has one.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut image = Self {
            bytes: Cow::Borrowed(bytes),
            sb: SuperBlock::read(bytes),
        };
        if image.is_cut_short() {
            image.bytes.to_mut().resize(PMEM_SIZE, 0);
            image.sb = SuperBlock::read(&*image.bytes);
        }
        image
    }

    /// Whether its superblock says that it is longer than its device.
    fn is_cut_short(&self) -> bool {
        matches!(self.sb, Err(Error::Invalid(what)) if what.contains("shorter than its superblock"))
    }

    /// Whether its superblock says that it is shorter than its device.
    fn is_short(&self) -> bool {
        let size = self.sb.as_ref().map(SuperBlock::size);
        size.is_ok_and(|size| usize::try_from(size).is_ok_and(|size| size < SIZE))
    }

    /// Whether the place of its root cannot be told.
    fn has_far_root(&self) -> bool {
        self.sb.as_ref().is_ok_and(|sb| is_far(sb.root_nid()))
    }

    /// The inode that an answer about attributes is of: [`SuperBlock::inode_number`] backwards.
    fn nid(&self, attributes: &Answer) -> Option<u64> {
        let number = number(attributes, 0)?;
        if !self.has_metabox() {
            return Some(number);
        }
        let high = (number & !0xFFFF_FFFF) >> 1;
        Some(high | (number & 0x7FFF_FFFF) | (((number >> 31) & 1) << 63))
    }

    /// Why an inode in the metabox, or what stands with it there, cannot be read.
    fn metabox_error(&self, nid: u64) -> Option<Error> {
        let sb = self.sb.as_ref().ok()?;
        if nid & METABOX == 0 {
            return None;
        }
        let tail = Inode::read(&*self.bytes, sb, nid).and_then(|inode| {
            let tail = inode.inline_tail(sb)?;
            Ok(tail.map(|tail| (inode, tail)))
        });
        let (inode, tail) = match tail {
            Err(error) => return Some(error),
            Ok(tail) => tail?,
        };
        let mut room = vec![0; usize::try_from(tail.len).ok()?];
        let read = inode.read_data(&*self.bytes, sb, tail.pos, &mut room);
        read.err()
    }

    fn has_metabox(&self) -> bool {
        self.sb.as_ref().is_ok_and(|sb| sb.metabox().is_ok())
    }

    /// The map of a compressed inode; `None` if there is no such inode.
    fn map(&self, nid: u64) -> Option<Result<Map<'_>, Error>> {
        let sb = self.sb.as_ref().ok()?;
        let inode = Inode::read(&*self.bytes, sb, nid).ok()?;
        let is_compressed = inode.layout.is_compressed();
        is_compressed.then(|| Map::new(&self.bytes, sb, inode))
    }

    /// Why not all xattrs of an inode can be read.
    fn xattr_error(&self, nid: u64) -> Option<Error> {
        let sb = self.sb.as_ref().ok()?;
        let inode = Inode::read(&*self.bytes, sb, nid).ok()?;
        let prefixes: Vec<_> = Prefixes::new(&*self.bytes, sb)
            .map_while(Result::ok)
            .collect();
        let xattrs = Xattrs::new(&*self.bytes, sb, &prefixes);
        let (mut name, mut value) = ([0; NAME_MAX], vec![0; 1 << 16]);
        let read = xattrs.list(&inode).and_then(|mut list| {
            while let Some(entry) = list.next(&xattrs)? {
                xattrs.copy_name(&entry, &mut name)?;
                xattrs.copy_value(&entry, &mut value)?;
            }
            Ok(())
        });
        read.err()
    }
}

/// A question that the drivers answer differently.
struct Asked<'a> {
    path: &'a str,
    question: &'a Question,
    ours: &'a Answer,
    theirs: &'a Answer,
}

/// The two walks.
struct Walks<'a> {
    image: &'a Image<'a>,
    stock: &'a Transcript,
    ours: &'a Transcript,
}

impl Walks<'_> {
    /// The class of a difference.
    fn class(&self, asked: &Asked<'_>) -> Option<String> {
        let is_refused = asked.ours.is_err();
        let class = match asked.question {
            Question::Mount if self.image.is_cut_short() => {
                "the image is shorter than its superblock says"
            }
            Question::Mount if self.image.has_far_root() => FAR,
            Question::Mount => return None,
            _ if is_refused && self.image.is_short() => "behind the end that the superblock says",
            Question::Xattrs | Question::Xattr(_) if self.image.has_metabox() => {
                "shared xattrs outside the metabox"
            }
            Question::Xattrs | Question::Xattr(_) => return self.class_of_xattrs(asked),
            Question::Attributes if is_refused => self.class_of_lookup(asked)?,
            _ => return self.class_of_data(asked, is_refused),
        };
        Some(class.to_owned())
    }

    fn class_of_xattrs(&self, asked: &Asked<'_>) -> Option<String> {
        let attributes = self.stock.answer(asked.path, &Question::Attributes)?;
        let error = self.image.xattr_error(self.image.nid(attributes)?)?;
        (asked.ours == &Err(EUCLEAN)).then(|| format!("xattrs: {error}"))
    }

    fn class_of_lookup(&self, asked: &Asked<'_>) -> Option<&'static str> {
        let nid = self.image.nid(asked.theirs)?;
        if is_far(nid) {
            return Some(FAR);
        }
        if self.image.metabox_error(nid).is_some() {
            return Some(OUTSIDE);
        }
        if !self.is_link_whole(asked) {
            return Some("a link without a target, or whose target is not what its size says");
        }
        let (parent, _) = asked.path.rsplit_once('/')?;
        let listing = self.ours.answer(parent, &Question::Entries)?;
        let is_sorted =
            matches!(listing, Ok(Value::Names(names)) if names.is_sorted_by(|a, b| a.0 < b.0));
        (!is_sorted).then_some("a directory in disorder")
    }

    /// False for a link of which stock serves an error, nothing, or another length than it says.
    fn is_link_whole(&self, asked: &Asked<'_>) -> bool {
        let target = self.stock.answer(asked.path, &Question::Target);
        match (target, asked.theirs) {
            (Some(Ok(Value::Bytes(target))), Ok(Value::Numbers(numbers))) => {
                let len = i128::try_from(target.len());
                len.is_ok_and(|len| len > 0 && numbers.get(ATTRIBUTE_SIZE) == Some(&len))
            }
            (target, _) => target.is_none(),
        }
    }

    fn class_of_data(&self, asked: &Asked<'_>, is_refused: bool) -> Option<String> {
        let [ours, theirs] =
            [self.ours, self.stock].map(|walk| walk.answer(asked.path, &Question::Extents));
        let fragment = |extents: &Vec<[u64; 4]>| extents.iter().any(|extent| extent[1] == 0);
        if let (Question::Extents, Some(Ok(ours)), Some(Ok(theirs))) =
            (asked.question, ours, theirs)
        {
            if differ_behind_the_device(ours, theirs) {
                return Some("an address behind the device".to_owned());
            }
            let attributes = self.stock.answer(asked.path, &Question::Attributes)?;
            if differ_behind_the_end(ours, theirs, number(attributes, ATTRIBUTE_SIZE)?) {
                return Some("an extent that goes on behind the end of its file".to_owned());
            }
        }
        if let Question::Seek = asked.question {
            if matches!(asked.theirs, Ok(Value::Numbers(numbers)) if numbers[0] < 0) {
                return Some("damage that stock meets at SEEK_HOLE only".to_owned());
            }
        }
        // Of the two searches of SEEK_HOLE and SEEK_DATA.
        let is_refused = is_refused
            || matches!(asked.ours, Ok(Value::Numbers(numbers)) if numbers.contains(&-i128::from(EUCLEAN)));
        if is_refused && matches!(theirs, Some(Ok(Value::Extents(extents))) if fragment(extents)) {
            return Some("a fragment outside the packed inode".to_owned());
        }
        let attributes = self.stock.answer(asked.path, &Question::Attributes)?;
        let nid = self.image.nid(attributes)?;
        if is_refused && self.image.metabox_error(nid).is_some() {
            return Some(OUTSIDE.to_owned());
        }
        let map = match self.image.map(nid)? {
            Err(error) => return is_refused.then(|| format!("map of a compressed file: {error}")),
            Ok(map) => map,
        };
        let range = map.range(asked.question);
        // Where a fragment is, the packed inode's map says.
        let packed = map.packed(&range).and_then(Result::ok);
        let parts: Vec<_> = iter::once((&map, &range))
            .chain(packed.iter().map(|(packed, range)| (packed, range)))
            .collect();
        let class = parts
            .iter()
            .find_map(|(map, range)| class_of_map(map, range));
        if let Some(class) = class {
            return Some(class.to_owned());
        }
        if is_refused {
            return map.reason(range.clone());
        }
        let mut parts = parts.into_iter();
        parts
            .any(|(map, range)| self.is_disputed(map, range))
            .then(|| "a pcluster that two files store in different ways".to_owned())
    }

    /// Whether a map of some file contradicts this one.
    fn is_disputed(&self, map: &Map<'_>, range: &Range<u64>) -> bool {
        let attributes = self.stock.all().filter_map(|(_, question, answer)| {
            (*question == Question::Attributes)
                .then(|| self.image.nid(answer))
                .flatten()
        });
        let packed = self.image.sb.as_ref().ok().and_then(SuperBlock::packed);
        let mut nids = attributes.chain(packed.map(|packed| packed.nid));
        nids.any(|nid| {
            let other = self.image.map(nid);
            matches!(other, Some(Ok(other)) if map.disagrees(range.clone(), &other))
        })
    }
}

/// The class of a map of which the two drivers make different things.
fn class_of_map(map: &Map<'_>, range: &Range<u64>) -> Option<&'static str> {
    let elements = map.elements();
    let is_contradictory = elements.are_unsorted()
        || elements.have_a_wrong_distance()
        || map.is_contradictory(range.clone());
    if is_contradictory {
        return Some("a map that contradicts itself");
    }
    elements
        .have_a_hole_inside()
        .then_some("a hole that begins inside an lcluster")
}

/// Whether extents are alike but for addresses that no device has.
fn differ_behind_the_device(ours: &Value, theirs: &Value) -> bool {
    let (Value::Extents(ours), Value::Extents(theirs)) = (ours, theirs) else {
        return false;
    };
    let is_behind = |address: u64| usize::try_from(address).is_ok_and(|address| address >= SIZE);
    let mut pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len()
        && pairs.all(|(ours, theirs)| {
            let [logical, physical, length, flags] = *ours;
            let other = theirs[1];
            *theirs == [logical, other, length, flags]
                && (physical == other || is_behind(physical) && is_behind(other))
        })
}

/// Whether extents are alike but for the last one, which ends with the file, and in stock's behind
/// it.
fn differ_behind_the_end(ours: &Value, theirs: &Value, size: u64) -> bool {
    let (Value::Extents(ours), Value::Extents(theirs)) = (ours, theirs) else {
        return false;
    };
    let (Some((our_last, ours)), Some((their_last, theirs))) =
        (ours.split_last(), theirs.split_last())
    else {
        return false;
    };
    let [logical, physical, length, flags] = *their_last;
    ours == theirs
        && logical.saturating_add(length) > size
        && *our_last == [logical, physical, size.saturating_sub(logical), flags]
}

/// One of the numbers in an answer about attributes.
fn number(attributes: &Answer, which: usize) -> Option<u64> {
    match attributes {
        Ok(Value::Numbers(numbers)) => u64::try_from(*numbers.get(which)?).ok(),
        _ => None,
    }
}

/// Compares what two drivers have answered about one image.
pub fn find(image: &Image<'_>, stock: &Transcript, ours: &Transcript) -> Vec<Difference> {
    let walks = Walks { image, stock, ours };
    let mut differences = Vec::new();
    let mut missing = None;
    for (path, question, theirs) in stock.all() {
        // What an error hides, and what a mapping shows behind a file's end, is not served.
        if theirs.is_err() || *question == Question::Tail {
            continue;
        }
        let Some(our) = ours.answer(path, question) else {
            missing.get_or_insert(format!("{path}: {question:?} was not asked"));
            continue;
        };
        if our != theirs {
            let asked = Asked {
                path,
                question,
                ours: our,
                theirs,
            };
            differences.push(Difference {
                class: walks.class(&asked),
                text: format!("{path}: {question:?}: {our:?}, stock {theirs:?}"),
            });
        }
    }
    // Whoever cannot list a directory does not ask about its files.
    let unexplained = missing.filter(|_| differences.is_empty());
    differences.extend(unexplained.map(|text| Difference { class: None, text }));
    differences
}
