// SPDX-License-Identifier: GPL-2.0

//! What a walk through a mount has asked, and the answers.

use std::collections::BTreeMap;

use crate::record::Counts;

const ENOTDIR: i32 = 20;

/// What was asked about a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// mount(2) of the image.
    Mount,
    /// chdir(2) to the root; only noted if it fails.
    Enter,
    /// statfs(2).
    Statistics,
    /// The filesystem's label.
    Label,
    /// statx(2), without following links.
    Attributes,
    /// A directory's entries, in their order.
    Entries,
    /// A name that is not there.
    Absent(String),
    /// A link's target.
    Target,
    /// Names of extended attributes.
    Xattrs,
    /// The value of one of them.
    Xattr(String),
    /// open(2) for reading.
    Open,
    /// A page's bytes, by read(2).
    Page(u64),
    /// The same, by a mapping; only what is before the file's end.
    Mapped(u64),
    /// Whether only zeros follow the file's end in its last mapped page.
    Tail,
    /// FIEMAP.
    Extents,
    /// `SEEK_HOLE` and `SEEK_DATA` from the start.
    Seek,
}

/// An answer that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing but success.
    Done,
    /// Some numbers.
    Numbers(Vec<i128>),
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Some bytes that nobody wants to see: how many, and their hash.
    Content(usize, u64),
    /// Names with what is told about each.
    Names(Vec<(String, [u64; 3])>),
    /// Logical and physical address, length and flags.
    Extents(Vec<[u64; 4]>),
}

impl Value {
    /// For bytes that are only compared.
    pub fn content(bytes: &[u8]) -> Self {
        Self::Content(bytes.len(), hash(bytes))
    }
}

/// FNV-1a by words instead of bytes: nobody looks for collisions, and a guest under emulation spends
/// a tenth of its time in a better hash. Each step can be undone, so that one changed word always
/// shows.
fn hash(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01B3;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().map(|byte| u64::from(*byte));
    let words = words.map(|word| <[u8; 8]>::try_from(word).map_or(0, u64::from_le_bytes));
    rest.fold(words.fold(BASIS, step), step)
}

/// A value, or the error's number.
pub type Answer = Result<Value, i32>;

/// The answers, by the file's path below the root and by the question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript(BTreeMap<String, BTreeMap<Question, Answer>>);

impl Transcript {
    /// Notes an answer.
    pub fn note(&mut self, path: &str, question: Question, answer: Answer) {
        if let Some(answers) = self.0.get_mut(path) {
            answers.insert(question, answer);
        } else {
            let answers = BTreeMap::from([(question, answer)]);
            self.0.insert(path.to_owned(), answers);
        }
    }

    /// The answer to a question.
    pub fn answer(&self, path: &str, question: &Question) -> Option<&Answer> {
        self.0.get(path)?.get(question)
    }

    /// All of them: path, question, answer.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Question, &Answer)> {
        self.0.iter().flat_map(|(path, answers)| {
            let answers = answers.iter();
            answers.map(|(question, answer)| (path.as_str(), question, answer))
        })
    }

    /// Whether the image was mounted.
    pub fn is_mounted(&self) -> bool {
        matches!(self.answer("", &Question::Mount), Some(Ok(_)))
    }

    /// Adds them to what was counted.
    pub fn count(&self, counts: &mut Counts) {
        counts.mounted += u64::from(self.is_mounted());
        for (_, _, answer) in self.all() {
            counts.answers += 1;
            counts.errors += u64::from(answer.is_err());
        }
    }

    /// What no image may bring about: a page that is mapped with other bytes than it is read with,
    /// or one that shows what is not the file's.
    pub fn contradiction(&self) -> Option<String> {
        self.all()
            .find_map(|(path, question, answer)| match (question, answer) {
                (Question::Mapped(page), Ok(mapped)) => {
                    let read = self.answer(path, &Question::Page(*page));
                    let Some(Ok(read)) = read else { return None };
                    (read != mapped).then(|| {
                        format!("{path}: page {page} is read as {read:?} and mapped as {mapped:?}")
                    })
                }
                (Question::Enter, Err(ENOTDIR)) => Some("its root is no directory".to_owned()),
                (Question::Tail, Ok(value)) if *value != Value::Done => Some(format!(
                    "{path}: its last page shows {value:?} behind the end"
                )),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(answers: &[(Question, Answer)]) -> Transcript {
        let mut transcript = Transcript::default();
        for (question, answer) in answers {
            transcript.note("file", question.clone(), answer.clone());
        }
        transcript
    }

    #[test]
    fn each_byte_counts() {
        let page = [0x5A; 4093];
        for at in [0, 7, 8, 4087, 4092] {
            let mut other = page;
            other[at] ^= 1;
            assert_ne!(Value::content(&page), Value::content(&other), "{at}");
        }
        let (short, long) = (Value::content(&[0; 8]), Value::content(&[0; 16]));
        assert_ne!(short, long);
    }

    #[test]
    fn a_page_has_one_content() {
        let (a, b) = (Value::content(b"a"), Value::content(b"b"));
        assert_ne!(a, b);
        let of = |read: Answer, mapped: Answer| {
            transcript(&[(Question::Page(3), read), (Question::Mapped(3), mapped)]).contradiction()
        };
        assert_eq!(of(Ok(a.clone()), Ok(a.clone())), None);
        assert_eq!(of(Err(5), Ok(a.clone())), None);
        assert_eq!(of(Ok(a.clone()), Err(14)), None);
        assert!(of(Ok(a), Ok(b)).unwrap().contains("page 3"));
    }

    #[test]
    fn roots_are_directories() {
        let of = |error| transcript(&[(Question::Enter, Err(error))]).contradiction();
        assert!(of(ENOTDIR).is_some());
        // An ACL that cannot be read.
        assert_eq!(of(117), None);
    }

    #[test]
    fn nothing_shows_behind_the_end() {
        let of = |value| transcript(&[(Question::Tail, Ok(value))]).contradiction();
        assert_eq!(of(Value::Done), None);
        assert!(of(Value::Bytes(vec![0, 7])).is_some());
    }

    #[test]
    fn counts() {
        let mut counts = Counts::default();
        let mut transcript = transcript(&[(Question::Open, Err(117))]);
        transcript.count(&mut counts);
        transcript.note("", Question::Mount, Ok(Value::Done));
        transcript.count(&mut counts);
        let expected = Counts {
            mounted: 1,
            answers: 3,
            errors: 2,
        };
        assert_eq!(counts, expected);
    }
}
