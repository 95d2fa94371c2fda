// SPDX-License-Identifier: GPL-2.0

use super::Subject;
use crate::views::Minimal;
use erodax_format::dir::{lookup, lookup_near, Cursor, Entry, Found, NAME_MAX};
use erodax_format::inode::FileType;
use erodax_format::{Result, Volume};

/// How many entries of a directory are listed.
const MAX_ENTRIES: usize = 256;

/// What is kept of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    nid: u64,
    file_type: u8,
    name: Vec<u8>,
    pos: u64,
    next: u64,
}

impl Listed {
    /// What looking it up gives.
    fn target(&self) -> Found {
        Found {
            nid: self.nid,
            file_type: self.file_type,
            next: self.next,
        }
    }
}

impl From<Entry<'_>> for Listed {
    fn from(entry: Entry<'_>) -> Self {
        Listed {
            nid: entry.nid,
            file_type: entry.file_type,
            name: entry.name.to_vec(),
            pos: entry.pos,
            next: entry.next,
        }
    }
}

/// Listing and lookup.
pub fn directory(image: &[u8]) {
    let Some(subject) = Subject::of(image) else {
        return;
    };
    if subject.inode.file_type() != FileType::Directory {
        return;
    }
    let listed = list(&subject, 0);
    check_seek(&subject, &listed);
    let (entries, complete) = listed;
    let name = subject.question.name_in(image, NAME_MAX + 1);
    let found = lookup(image, &subject.sb, &subject.inode, name);
    let minimal = Minimal(image);
    assert_eq!(found, lookup(&minimal, &subject.sb, &subject.inode, name));
    // Names in a mount have no NUL, and an omitted "." is not stored.
    let mut entries = entries;
    entries.retain(|entry| entry.pos < subject.inode.size);
    if !complete || name.contains(&0) {
        return;
    }
    let near = near(&subject, name, subject.question.pos);
    for found in [found, near].into_iter().filter_map(Result::ok).flatten() {
        let is_it = |entry: &Listed| entry.name == name && entry.target() == found;
        assert!(entries.iter().any(is_it), "found, but not listed");
    }
    check_lookup(&subject, &entries);
}

fn near(subject: &Subject<'_>, name: &[u8], cookie: u64) -> Result<Option<Found>> {
    lookup_near(subject.image, &subject.sb, &subject.inode, name, cookie)
}

/// In a good directory, what is listed is found, and nothing else, wherever the search begins.
fn check_lookup(subject: &Subject<'_>, entries: &[Listed]) {
    if !entries.is_sorted_by(|a, b| a.name < b.name) {
        return;
    }
    let cookie = subject.question.pos;
    for entry in entries.iter().filter(|entry| !entry.name.contains(&0)) {
        let expected = Ok(Some(entry.target()));
        let found = lookup(subject.image, &subject.sb, &subject.inode, &entry.name);
        assert_eq!(found, expected);
        for cookie in [cookie, entry.pos, entry.next] {
            assert_eq!(near(subject, &entry.name, cookie), expected);
        }
    }
    let name = subject.question.name_in(subject.image, NAME_MAX);
    if !entries.iter().any(|entry| entry.name == name) {
        let found = lookup(subject.image, &subject.sb, &subject.inode, name);
        assert_eq!(found, Ok(None));
        assert_eq!(near(subject, name, cookie), Ok(None));
    }
}

/// The entries from `pos` on, and whether these are all: no error, and not too many.
fn list(subject: &Subject<'_>, pos: u64) -> (Vec<Listed>, bool) {
    let dir = &subject.inode;
    let mut cursor = Cursor::new(pos);
    let mut entries: Vec<Listed> = Vec::new();
    while entries.len() < MAX_ENTRIES {
        let before = cursor.pos();
        match next(&mut cursor, subject.image, subject) {
            Ok(Some(entry)) => {
                check_entry(subject, before, &entry);
                assert_eq!(cursor.pos(), entry.next);
                entries.push(entry);
            }
            Ok(None) => {
                assert!(cursor.pos() >= dir.size);
                return (entries, true);
            }
            Err(error) => {
                let again = Cursor::new(before).advance(subject.image, &subject.sb, dir);
                assert_eq!(again, Err(error));
                return (entries, false);
            }
        }
    }
    (entries, false)
}

fn next<V: Volume + ?Sized>(
    cursor: &mut Cursor,
    volume: &V,
    subject: &Subject<'_>,
) -> Result<Option<Listed>> {
    let mut buf = [0; NAME_MAX];
    let entry = cursor.next(volume, &subject.sb, &subject.inode, &mut buf)?;
    Ok(entry.map(Listed::from))
}

fn check_entry(subject: &Subject<'_>, before: u64, entry: &Listed) {
    let dir = &subject.inode;
    assert!(before <= entry.pos && entry.pos < entry.next);
    let end = dir.size + u64::from(dir.dot_omitted());
    assert!(entry.next <= end, "{entry:?}");
    check_record(subject, entry);
    // Each cookie leads to its own entry.
    let again = next(
        &mut Cursor::new(entry.pos),
        &Minimal(subject.image),
        subject,
    );
    assert_eq!(again.as_ref(), Ok(&Some(entry.clone())));
}

/// Who leaves the name where it is gets the same entry.
fn check_record(subject: &Subject<'_>, entry: &Listed) {
    let mut cursor = Cursor::new(entry.pos);
    let record = cursor.advance(subject.image, &subject.sb, &subject.inode);
    let Some(record) = record.unwrap() else {
        assert_eq!(entry.name, b".");
        return;
    };
    let start = usize::try_from(record.name_offset).unwrap();
    assert_eq!(subject.image[start..start + record.name_len], entry.name);
    let of_record = (record.nid, record.file_type, record.pos, record.next);
    assert_eq!(
        of_record,
        (entry.nid, entry.file_type, entry.pos, entry.next)
    );
}

/// From any position, the listing goes on with the entry that comes next in the whole listing.
fn check_seek(subject: &Subject<'_>, (entries, complete): &(Vec<Listed>, bool)) {
    let raw = list(subject, subject.question.pos);
    assert!(raw.0.iter().all(|entry| entry.pos >= subject.question.pos));
    let pos = subject.pos_in(subject.inode.size.saturating_add(2));
    let expected = entries.iter().filter(|entry| entry.pos >= pos);
    let (found, _) = list(subject, pos);
    if *complete {
        assert!(expected.eq(&found));
    }
}
