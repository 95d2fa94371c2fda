// SPDX-License-Identifier: GPL-2.0

//! What the kernel's own EROFS serves, erodax must serve alike: what it refuses, erodax may refuse
//! or serve. The exceptions have a class each, by a rule; `docs/fuzzing.md` says why.

use erodax_format::{inode::Inode, superblock::SuperBlock, Error};

use crate::{
    images::SIZE,
    transcript::{Answer, Question, Transcript, Value},
};

const EUCLEAN: i32 = 117;
/// Which of the numbers in [`Question::Attributes`] is the size.
const ATTRIBUTE_SIZE: usize = 6;
/// From this number on, the byte address of an inode does not fit into 64 bits.
const WRAPS: u64 = 1 << 59;

/// An answer that is not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its class; `None` if nobody knows why.
    pub class: Option<&'static str>,
    /// What was asked, and both answers.
    pub text: String,
}

/// The image that both have had.
pub struct Image<'a> {
    bytes: &'a [u8],
    sb: Result<SuperBlock, Error>,
}

impl<'a> Image<'a> {
    /// Looks at its superblock, if it has one.
    pub fn new(bytes: &'a [u8]) -> Self {
        let sb = SuperBlock::read(bytes);
        Self { bytes, sb }
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

    fn has_metabox(&self) -> bool {
        self.sb.as_ref().is_ok_and(|sb| sb.metabox().is_ok())
    }

    fn is_compressed(&self, nid: u64) -> bool {
        let inode = self.sb.as_ref().map(|sb| Inode::read(self.bytes, sb, nid));
        matches!(inode, Ok(Ok(inode)) if inode.layout.is_compressed())
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
    fn class(&self, asked: &Asked<'_>) -> Option<&'static str> {
        let is_refused = asked.ours.is_err();
        match asked.question {
            Question::Mount if self.image.is_cut_short() => {
                return Some("the image is shorter than its superblock says");
            }
            Question::Mount => return None,
            _ if is_refused && self.image.is_short() => {
                return Some("behind the end that the superblock says");
            }
            Question::Xattrs | Question::Xattr(_) if self.image.has_metabox() => {
                return Some("shared xattrs outside the metabox");
            }
            Question::Xattrs | Question::Xattr(_) if asked.ours == &Err(EUCLEAN) => {
                return Some("damaged xattrs");
            }
            Question::Attributes if is_refused => return self.class_of_lookup(asked),
            _ => {}
        }
        self.class_of_data(asked, is_refused)
    }

    fn class_of_lookup(&self, asked: &Asked<'_>) -> Option<&'static str> {
        if matches!(nid(asked.theirs), Some(nid) if nid >= WRAPS) {
            return Some("the place of an inode wraps around");
        }
        if !self.is_link_whole(asked) {
            return Some("a link whose target is not what its size says");
        }
        let (parent, _) = asked.path.rsplit_once('/')?;
        let listing = self.ours.answer(parent, &Question::Entries)?;
        let is_sorted =
            matches!(listing, Ok(Value::Names(names)) if names.is_sorted_by(|a, b| a.0 < b.0));
        (!is_sorted).then_some("a directory in disorder")
    }

    /// False for a link of which stock serves an error, or another length than it says.
    fn is_link_whole(&self, asked: &Asked<'_>) -> bool {
        let target = self.stock.answer(asked.path, &Question::Target);
        match (target, asked.theirs) {
            (Some(Ok(Value::Bytes(target))), Ok(Value::Numbers(numbers))) => {
                let len = i128::try_from(target.len());
                len.is_ok_and(|len| numbers.get(ATTRIBUTE_SIZE) == Some(&len))
            }
            (target, _) => target.is_none(),
        }
    }

    fn class_of_data(&self, asked: &Asked<'_>, is_refused: bool) -> Option<&'static str> {
        let [ours, theirs] =
            [self.ours, self.stock].map(|walk| walk.answer(asked.path, &Question::Extents));
        let fragment = |extents: &Vec<[u64; 4]>| extents.iter().any(|extent| extent[1] == 0);
        if let (Question::Extents, Some(Ok(ours)), Some(Ok(theirs))) =
            (asked.question, ours, theirs)
        {
            if differ_behind_the_device(ours, theirs) {
                return Some("an address behind the device");
            }
        }
        if let Question::Seek = asked.question {
            if matches!(asked.theirs, Ok(Value::Numbers(numbers)) if numbers[0] < 0) {
                return Some("damage that stock meets at SEEK_HOLE only");
            }
        }
        let is_refused =
            is_refused || matches!(asked.ours, Ok(Value::Numbers(numbers)) if numbers[0] < 0);
        if is_refused && matches!(theirs, Some(Ok(Value::Extents(extents))) if fragment(extents)) {
            return Some("a fragment outside the packed inode");
        }
        let nid = nid(self.stock.answer(asked.path, &Question::Attributes)?)?;
        if !self.image.is_compressed(nid) {
            return None;
        }
        if is_refused {
            return Some("damaged compressed data");
        }
        matches!((ours, theirs), (Some(Ok(ours)), Some(Ok(theirs))) if ours != theirs)
            .then_some("a map of lclusters that contradicts itself")
    }
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

/// The inode's number in an answer about attributes.
fn nid(attributes: &Answer) -> Option<u64> {
    match attributes {
        Ok(Value::Numbers(numbers)) => u64::try_from(*numbers.first()?).ok(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use erodax_mutation::places::SUPER_BLOCK;

    fn transcript(answers: &[(&str, Question, Answer)]) -> Transcript {
        let mut transcript = Transcript::default();
        for (path, question, answer) in answers {
            transcript.note(path, question.clone(), answer.clone());
        }
        transcript
    }

    fn texts(stock: &[(&str, Question, Answer)], ours: &[(&str, Question, Answer)]) -> Vec<String> {
        let found = find(&Image::new(&[]), &transcript(stock), &transcript(ours));
        found.into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn what_stock_serves_is_served_alike() {
        let page = |byte: u8| ("a", Question::Page(0), Ok(Value::content(&[byte])));
        assert!(texts(&[page(1)], &[page(1)]).is_empty());
        assert_eq!(texts(&[page(1)], &[page(2)]).len(), 1);
        assert_eq!(
            texts(&[page(1)], &[("a", Question::Page(0), Err(117))]).len(),
            1
        );
        assert_eq!(texts(&[page(1)], &[]).len(), 1);
    }

    #[test]
    fn what_stock_refuses_may_be_anything() {
        let refused = ("", Question::Mount, Err(22));
        let mounted = ("", Question::Mount, Ok(Value::Done));
        let open = ("a", Question::Open, Err(5));
        assert!(texts(&[refused], &[mounted, open.clone()]).is_empty());
        assert!(texts(&[open], &[]).is_empty());
    }

    #[test]
    fn what_follows_from_a_difference_is_none() {
        let entries = |answer| (".", Question::Entries, answer);
        let file = ("./a", Question::Target, Ok(Value::Bytes(vec![1])));
        let stock = [entries(Ok(Value::Names(Vec::new()))), file];
        let found = texts(&stock, &[entries(Err(117))]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(".: Entries"), "{found:?}");
    }

    #[test]
    fn what_follows_the_end_of_a_file_is_not_compared() {
        let tail = |value| ("a", Question::Tail, Ok(value));
        let theirs = tail(Value::Bytes(vec![7]));
        assert!(texts(&[theirs], &[tail(Value::Done)]).is_empty());
    }

    fn class(
        image: &[u8],
        question: Question,
        theirs: Answer,
        more: (Question, Answer),
    ) -> Option<&'static str> {
        let file = "./a";
        let stock = transcript(&[(file, question.clone(), theirs), (file, more.0, more.1)]);
        let ours = transcript(&[(file, question, Err(EUCLEAN))]);
        find(&Image::new(image), &stock, &ours)[0].class
    }

    /// An image whose superblock says this many blocks of 512 bytes.
    fn image(blocks: u64) -> Vec<u8> {
        let mut image = vec![0; SIZE];
        SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
        SUPER_BLOCK.set(&mut image, "blkszbits", 9);
        SUPER_BLOCK.set(&mut image, "blocks_lo", blocks);
        image
    }

    #[test]
    fn sizes_matter_where_they_differ() {
        let full = u64::try_from(SIZE).unwrap() / 512;
        let nothing = || (Question::Label, Err(1));
        let page = |blocks| {
            let content = Ok(Value::content(b"a"));
            class(&image(blocks), Question::Page(0), content, nothing())
        };
        assert!(page(full - 1).is_some());
        assert_eq!([page(full), page(full + 1)], [None; 2]);
        let mount = |blocks| class(&image(blocks), Question::Mount, Ok(Value::Done), nothing());
        assert!(mount(full + 1).is_some());
        assert_eq!([mount(full), mount(full - 1)], [None; 2]);
    }

    #[test]
    fn fragments_have_no_place_of_their_own() {
        let page = |physical| {
            let extents = Ok(Value::Extents(vec![[0, physical, 5, 1]]));
            let content = Ok(Value::content(b"a"));
            class(
                &[],
                Question::Page(0),
                content,
                (Question::Extents, extents),
            )
        };
        assert!(page(0).is_some());
        assert_eq!(page(512), None);
    }

    #[test]
    fn links_are_read_with_their_inodes() {
        let link = |target| {
            let numbers = Ok(Value::Numbers(vec![36, 0, 0, 0, 0, 0, 2]));
            class(
                &[],
                Question::Attributes,
                numbers,
                (Question::Target, target),
            )
        };
        assert!(link(Err(5)).is_some());
        assert!(link(Ok(Value::Bytes(vec![1]))).is_some());
        assert_eq!(link(Ok(Value::Bytes(vec![1, 2]))), None);
    }

    #[test]
    fn addresses_that_nobody_has_are_all_alike() {
        let extent = |physical, len| Value::Extents(vec![[0, physical, len, 1]]);
        let far = 1 << 40;
        assert!(differ_behind_the_device(
            &extent(far, 5),
            &extent(u64::MAX, 5)
        ));
        assert!(!differ_behind_the_device(&extent(far, 5), &extent(512, 5)));
        assert!(!differ_behind_the_device(&extent(far, 5), &extent(far, 6)));
    }
}
