// SPDX-License-Identifier: GPL-2.0

use super::Subject;
use crate::views::Minimal;
use erodax_format::superblock::SuperBlock;
use erodax_format::xattr::{
    Entry, Prefix, Prefixes, Xattrs, INDEX_POSIX_ACL_ACCESS, INDEX_POSIX_ACL_DEFAULT, NAME_MAX,
};
use erodax_format::{Result, Volume};

/// How many xattrs of an inode are looked at.
const MAX_XATTRS: usize = 64;

/// `feature_compat`: there are name filters.
const FILTER: u32 = 1 << 2;

/// An xattr that was read.
struct Found {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Extended attributes, long prefixes and name filters.
pub fn xattrs(image: &[u8]) {
    let Some(subject) = Subject::of(image) else {
        return;
    };
    let prefixes = prefixes(image, &subject.sb);
    let xattrs = Xattrs::new(image, &subject.sb, &prefixes);
    if let Ok(found) = read_all(&xattrs, &subject) {
        check_lookup(&xattrs, &subject, &found);
    }
    check_question(&xattrs, &subject, &prefixes);
    for index in [INDEX_POSIX_ACL_ACCESS, INDEX_POSIX_ACL_DEFAULT] {
        if let Ok(Some(_)) = xattrs.find(&subject.inode, index, b"") {
            assert_eq!(xattrs.may_have_acl(&subject.inode), Ok(true));
        }
    }
}

/// The prefixes before the first error.
fn prefixes<V: Volume + ?Sized>(volume: &V, sb: &SuperBlock) -> Vec<Prefix> {
    Prefixes::new(volume, sb).map_while(Result::ok).collect()
}

/// All xattrs, if they can be read and are not too many.
fn read_all(xattrs: &Xattrs<'_, [u8]>, subject: &Subject<'_>) -> Result<Vec<Found>> {
    let mut list = xattrs.list(&subject.inode)?;
    let mut found = Vec::new();
    while let Some(entry) = list.next(xattrs)? {
        found.push(read(xattrs, &entry)?);
        if found.len() == MAX_XATTRS {
            return Ok(Vec::new());
        }
    }
    Ok(found)
}

fn read(xattrs: &Xattrs<'_, [u8]>, entry: &Entry) -> Result<Found> {
    assert!(entry.name_len <= NAME_MAX && entry.value_len <= usize::from(u16::MAX));
    let mut name = [0; NAME_MAX];
    let mut value = vec![0; entry.value_len];
    let name = xattrs.copy_name(entry, &mut name)?;
    assert_eq!(name.len(), entry.name_len);
    assert!(
        entry.name_len == 0
            || xattrs
                .copy_name(entry, &mut vec![0; entry.name_len - 1])
                .is_err()
    );
    Ok(Found {
        index: entry.index,
        name: name.to_vec(),
        value: xattrs.copy_value(entry, &mut value)?.to_vec(),
    })
}

/// Each name is found, with the value of the first that has it, unless a filter says otherwise.
fn check_lookup(xattrs: &Xattrs<'_, [u8]>, subject: &Subject<'_>, found: &[Found]) {
    let has_filter = subject.sb.feature_compat() & FILTER != 0;
    for Found { index, name, .. } in found {
        let is_it = |other: &&Found| other.index == *index && other.name == *name;
        let first = found.iter().find(is_it).map(|found| &found.value);
        let mut buf = vec![0; usize::from(u16::MAX)];
        let len = xattrs.get(&subject.inode, *index, name, &mut buf).unwrap();
        match len {
            Some(len) => assert_eq!(first.map(Vec::as_slice), Some(&buf[..len])),
            None => assert!(has_filter),
        }
        // A short buffer stays as it was, and tells the length all the same.
        let mut short = [0xA5];
        assert_eq!(xattrs.get(&subject.inode, *index, name, &mut []), Ok(len));
        assert_eq!(
            xattrs.get(&subject.inode, *index, name, &mut short),
            Ok(len)
        );
        assert!(short == [0xA5] || len == Some(1) || len.is_none());
    }
}

/// The name in question has the same answer however the bytes are read.
fn check_question(xattrs: &Xattrs<'_, [u8]>, subject: &Subject<'_>, prefixes: &[Prefix]) {
    let Subject {
        image,
        sb,
        inode,
        question,
    } = subject;
    let name = question.name_in(image, NAME_MAX + 1);
    let [index, ..] = question.len.to_le_bytes();
    let minimal = Minimal(image);
    let other = Xattrs::new(&minimal, sb, prefixes);
    let found = xattrs.find(inode, index, name);
    assert_eq!(found, other.find(inode, index, name));
    if let Ok(Some(entry)) = found {
        assert_eq!((entry.index, entry.name_len), (index, name.len()));
        let mut buf = [0; NAME_MAX];
        assert_eq!(other.copy_name(&entry, &mut buf), Ok(name));
    }
}
