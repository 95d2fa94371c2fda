// SPDX-License-Identifier: GPL-2.0

//! What a walk through a mount has asked, and the answers.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};

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
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self::Content(bytes.len(), hasher.finish())
    }
}

/// A value, or the error's number.
pub type Answer = Result<Value, i32>;

/// The answers, by the file's path below the root and by the question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript(BTreeMap<(String, Question), Answer>);

impl Transcript {
    /// Notes an answer.
    pub fn note(&mut self, path: &str, question: Question, answer: Answer) {
        self.0.insert((path.to_owned(), question), answer);
    }

    /// The answer to a question.
    pub fn answer(&self, path: &str, question: &Question) -> Option<&Answer> {
        self.0.get(&(path.to_owned(), question.clone()))
    }

    /// All of them: path, question, answer.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Question, &Answer)> {
        let entries = self.0.iter();
        entries.map(|((path, question), answer)| (path.as_str(), question, answer))
    }

    /// Whether the image was mounted.
    pub fn is_mounted(&self) -> bool {
        matches!(self.answer("", &Question::Mount), Some(Ok(_)))
    }

    /// Adds them to what was counted.
    pub fn count(&self, counts: &mut Counts) {
        let errors = self.0.values().filter(|answer| answer.is_err()).count();
        counts.mounted += u64::from(self.is_mounted());
        counts.answers += u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        counts.errors += u64::try_from(errors).unwrap_or(u64::MAX);
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
