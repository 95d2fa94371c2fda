// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::inode::Layout;
use crate::testing::{field, Minimal, TestImage, TestInode, TestVolume, INLINE, PLAIN};
use crate::volume::DeviceSlot;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Number of the first block of a test's directory, and nid of its inode at the start of block 4.
const FIRST: u32 = 8;

/// The bytes of a directory whose dirents have the nids 100, 101, …
fn directory(names: &[&[u8]], block_size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut nid = 100;
    let mut rest = names;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|&&name| {
            used += 12 + name.len();
            used <= block_size
        });
        let (block, more) = rest.split_at(fits.count());
        bytes.resize(bytes.len().next_multiple_of(block_size), 0);
        bytes.extend(dir_block(nid, block));
        nid += u64::try_from(block.len()).unwrap();
        rest = more;
    }
    bytes
}

fn dir_block(first_nid: u64, names: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut nameoff = u16::try_from(12 * names.len()).unwrap();
    for (nid, name) in (first_nid..).zip(names) {
        bytes.extend(nid.to_le_bytes());
        bytes.extend(nameoff.to_le_bytes());
        bytes.extend([file_type_of(name), 0]);
        nameoff += u16::try_from(name.len()).unwrap();
    }
    bytes.extend(names.concat());
    bytes
}

fn file_type_of(name: &[u8]) -> u8 {
    u8::try_from(name.len() % 8).unwrap()
}

/// A volume with these bytes as the data of every compressed file.
struct Decoded<'a> {
    image: &'a [u8],
    data: &'a [u8],
}

impl Volume for Decoded<'_> {
    type Device = [u8];

    fn primary(&self) -> &[u8] {
        self.image
    }

    fn read_compressed(
        &self,
        _sb: &SuperBlock,
        _inode: &Inode,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        self.data.read_at(pos, buf)
    }
}

struct Fixture {
    image: TestImage,
    sb: SuperBlock,
    dir: Inode,
}

/// An image with one directory that has these bytes.
fn fixture(bits: u8, layout: u16, bytes: &[u8]) -> Fixture {
    let blocks = FIRST + u32::try_from(bytes.len() >> bits).unwrap() + 2;
    let mut image = TestImage::new(bits, blocks);
    let nid = 4 << bits >> 5;
    let size = u64::try_from(bytes.len()).unwrap();
    let mut in_blocks = bytes;
    if layout == INLINE {
        let tail = bytes.len().saturating_sub(1) >> bits << bits;
        image.put(nid * 32 + 32, &bytes[tail..]);
        in_blocks = &bytes[..tail];
    }
    image.put_inode(nid, &TestInode::dir(layout, size, FIRST));
    image.put_block(FIRST, in_blocks);
    let sb = image.superblock();
    let dir = Inode::read(image.image(), &sb, u64::try_from(nid).unwrap()).unwrap();
    Fixture { image, sb, dir }
}

/// A directory of one block of 512 bytes.
fn one_block(bytes: &[u8]) -> Fixture {
    fixture(9, PLAIN, bytes)
}

/// What a lookup of an entry's name finds.
fn found_at(entry: &Entry<'_>) -> Found {
    Found {
        nid: entry.nid,
        file_type: entry.file_type,
        next: entry.next,
    }
}

type Listed = (Vec<u8>, u64, u8, u64);

impl Fixture {
    fn lookup(&self, name: &[u8]) -> Result<Option<(u64, u8)>> {
        let found = lookup(self.image.image(), &self.sb, &self.dir, name);
        let minimal = Minimal(self.image.image());
        assert_eq!(lookup(&minimal, &self.sb, &self.dir, name), found);
        Ok(found?.map(|found| (found.nid, found.file_type)))
    }

    /// Name, nid, type and cookie of every entry from `pos` on.
    fn list(&self, pos: u64) -> Result<Vec<Listed>> {
        let mut cursor = Cursor::new(pos);
        let mut list = Vec::new();
        let mut buf = [0; NAME_MAX];
        let mut last = None;
        while let Some(entry) = cursor.next(self.image.image(), &self.sb, &self.dir, &mut buf)? {
            assert!(entry.pos >= pos && last.is_none_or(|last| last == entry.pos));
            assert_eq!(cursor.pos(), entry.next);
            last = Some(entry.next);
            list.push((entry.name.to_vec(), entry.nid, entry.file_type, entry.pos));
        }
        assert!(last.is_none_or(|last| last == self.dir.size));
        Ok(list)
    }

    fn error(&self) -> Error {
        let error = self
            .list(0)
            .expect_err("a directory that must not be listed");
        // The cursor stays, so the error stays.
        let mut cursor = Cursor::new(0);
        let image = Minimal(self.image.image());
        while let Ok(entry) = cursor.advance(&image, &self.sb, &self.dir) {
            assert!(entry.is_some());
        }
        assert_eq!(cursor.advance(&image, &self.sb, &self.dir), Err(error));
        error
    }
}

#[test]
fn near() {
    // Out of order: a search cannot find the last name, but a look at its place does.
    let names: [&[u8]; 3] = [b"b", b"c", b"a"];
    let dir = one_block(&directory(&names, 512));
    let near = |name, cookie| lookup_near(dir.image.image(), &dir.sb, &dir.dir, name, cookie);
    let expected = Found {
        nid: 102,
        file_type: file_type_of(b"a"),
        next: dir.dir.size,
    };
    assert_eq!(near(b"a", 24), Ok(Some(expected)));
    for elsewhere in [0, 12, 23, 36, 48, 511, 512, u64::MAX] {
        assert_eq!(near(b"a", elsewhere), Ok(None));
    }
    // From each name's place to that of the next one.
    assert_eq!(near(b"b", 0).unwrap().unwrap().next, 12);
    assert_eq!(near(b"c", 12).unwrap().unwrap().next, 24);
}

#[test]
fn small() {
    let names: [&[u8]; 4] = [b".", b"..", b"a", b"b\xFF"];
    for layout in [PLAIN, INLINE] {
        let dir = fixture(12, layout, &directory(&names, 4096));
        let listed = dir.list(0).unwrap();
        assert_eq!(listed[0], (b".".to_vec(), 100, 1, 0));
        assert_eq!(listed[3], (b"b\xFF".to_vec(), 103, 2, 36));
        assert_eq!(dir.lookup(b"a"), Ok(Some((102, 1))));
        assert_eq!(dir.lookup(b".."), Ok(Some((101, 2))));
        for absent in [
            &b"b"[..],
            b"",
            b"aa",
            b"!",
            b"b\xFF\xFF",
            b"b\xFF\0",
            &[b'a'; 256],
        ] {
            assert_eq!(dir.lookup(absent), Ok(None));
        }
    }
}

#[test]
fn empty() {
    for layout in [PLAIN, INLINE] {
        let dir = fixture(12, layout, &[]);
        assert_eq!(dir.list(0), Ok(Vec::new()));
        assert_eq!(dir.list(u64::MAX), Ok(Vec::new()));
        assert_eq!(dir.lookup(b"a"), Ok(None));
    }
}

#[test]
fn last_name_ends_at_nul_or_block() {
    let mut bytes = directory(&[b"a", b"bc"], 512);
    bytes.resize(512, 0);
    let dir = one_block(&bytes);
    assert_eq!(dir.list(0).unwrap()[1].0, b"bc");
    assert_eq!(dir.lookup(b"bc"), Ok(Some((101, 2))));
    for absent in [&b"b"[..], b"bcd", b"bc\0", b"bc\0\0"] {
        assert_eq!(dir.lookup(absent), Ok(None));
    }
    // No NUL: names of 244 and 244 bytes fill the block.
    let names: [&[u8]; 2] = [&[b'x'; 244], &[b'y'; 244]];
    let bytes = directory(&names, 512);
    assert_eq!(bytes.len(), 512);
    let dir = one_block(&bytes);
    assert_eq!(dir.list(0).unwrap()[1].0, [b'y'; 244]);
    assert_eq!(dir.lookup(&[b'y'; 244]), Ok(Some((101, 4))));
    assert_eq!(dir.lookup(&[b'y'; 245]), Ok(None));
    assert_eq!(dir.lookup(&[b'y'; 243]), Ok(None));
}

#[test]
fn longest_name() {
    let dir = one_block(&directory(&[&[b'n'; 255]], 512));
    assert_eq!(dir.list(0).unwrap()[0].0, [b'n'; 255]);
    assert_eq!(dir.lookup(&[b'n'; 255]), Ok(Some((100, 7))));
    let dir = one_block(&directory(&[&[b'n'; 256]], 512));
    assert_eq!(dir.error(), BAD_LENGTH);
    let dir = one_block(&directory(&[&[b'n'; 256], b"o"], 512));
    assert_eq!(dir.error(), BAD_LENGTH);
    assert_eq!(dir.lookup(b"o"), Err(BAD_LENGTH));
}

#[test]
fn any_position() {
    let names: Vec<String> = (0..100).map(|i| format!("name{i:03}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let dir = fixture(9, PLAIN, &directory(&names, 512));
    let all = dir.list(0).unwrap();
    assert_eq!(all.len(), 100);
    // Miri takes seconds for each.
    let step = if cfg!(miri) { 197 } else { 1 };
    for pos in (0..dir.dir.size + 20).step_by(step) {
        let rest: Vec<_> = all.iter().filter(|entry| entry.3 >= pos).cloned().collect();
        assert_eq!(dir.list(pos).unwrap(), rest, "from {pos}");
    }
    for pos in [u64::MAX, u64::MAX - 12, 1 << 63, (1 << 63) - 1] {
        assert_eq!(dir.list(pos), Ok(Vec::new()));
    }
}

#[test]
fn bad_first_nameoff() {
    let bad = Error::Corrupt("directory block with a bad first nameoff");
    let good = directory(&[b".", b"..", b"a", b"b23456"], 512);
    assert_eq!(good.len(), 58);
    let good = [&good[..], b"89"].concat();
    for nameoff in [0, 1, 11, 13, 40, 60, 72, 504, 512, 0xFFFC] {
        let mut bytes = good.clone();
        bytes[8..10].copy_from_slice(&u16::to_le_bytes(nameoff));
        let dir = one_block(&bytes);
        assert_eq!(dir.error(), bad, "{nameoff}");
        assert_eq!(dir.lookup(b"a"), Err(bad));
    }
}

#[test]
fn bad_nameoff() {
    let good = directory(&[b".", b"..", b"a", b"b"], 512);
    let with = |index: usize, nameoff: u16| {
        let mut bytes = good.clone();
        let at = index * 12 + 8;
        bytes[at..at + 2].copy_from_slice(&nameoff.to_le_bytes());
        one_block(&bytes)
    };
    for (index, nameoff) in [
        (1, 0),
        (1, 47),
        (2, 48),
        (2, 53),
        (2, 0xFFFF),
        (3, 500),
        (3, 50),
    ] {
        let dir = with(index, nameoff);
        assert_eq!(dir.error(), BAD_NAMEOFF, "{nameoff} of {index}");
    }
    // From a cookie on, nothing before it is seen.
    assert_eq!(with(2, 20).list(24), Err(BAD_NAMEOFF));
    assert_eq!(with(3, 20).list(36), Err(BAD_NAMEOFF));
    // A name without bytes.
    assert_eq!(with(1, 48).error(), BAD_LENGTH);
    assert_eq!(with(3, 51).error(), BAD_LENGTH);
    // What a search comes across. "b" is at 52, and the last.
    assert_eq!(with(3, 500).lookup(b"b"), Err(BAD_NAMEOFF));
    assert_eq!(with(3, 53).lookup(b"b"), Err(BAD_NAMEOFF));
    assert_eq!(with(3, 51).lookup(b"a"), Err(BAD_LENGTH));
}

#[test]
fn last_name_empty() {
    let mut bytes = directory(&[b".", b"..", b"a"], 512);
    bytes.truncate(bytes.len() - 1);
    bytes.extend([0, 0]);
    let dir = one_block(&bytes);
    assert_eq!(dir.error(), BAD_LENGTH);
    assert_eq!(dir.lookup(b"a"), Err(BAD_LENGTH));
}

#[test]
fn hole() {
    let mut dir = one_block(&directory(&[b"."], 512));
    let nid = usize::try_from(dir.dir.nid).unwrap();
    dir.image
        .put_inode(nid, &TestInode::dir(PLAIN, 100, u32::MAX));
    dir.dir = Inode::read(dir.image.image(), &dir.sb, dir.dir.nid).unwrap();
    assert_eq!(dir.error(), Error::Corrupt("directory with a hole"));
    assert!(dir.lookup(b".").is_err());
}

#[test]
fn outside_of_the_image() {
    let mut dir = one_block(&directory(&[b"."], 512));
    dir.dir.size = (1 << 63) - 1;
    assert_eq!(dir.lookup(b"a"), Err(Error::OutOfBounds));
    let list = dir.list((1 << 63) - 2);
    assert_eq!(list, Err(Error::OutOfBounds));
}

#[test]
fn other_layouts() {
    for layout in [1, 3] {
        let mut dir = one_block(&directory(&[b"."], 512));
        dir.image.put(field::U1, &[1]);
        dir.sb = dir.image.superblock();
        let nid = usize::try_from(dir.dir.nid).unwrap();
        dir.image.put_inode(nid, &TestInode::dir(layout, 100, 0));
        dir.dir = Inode::read(dir.image.image(), &dir.sb, dir.dir.nid).unwrap();
        assert!(matches!(dir.error(), Error::Unsupported(_)));
        assert!(matches!(dir.lookup(b"."), Err(Error::Unsupported(_))));
    }
}

#[test]
fn omitted_dot() {
    let bytes = directory(&[b"..", b"a"], 512);
    for bytes in [&bytes[..], &[]] {
        let mut dir = one_block(bytes);
        let nid = usize::try_from(dir.dir.nid).unwrap();
        let inode = TestInode {
            format: 1 << 4,
            ..TestInode::dir(PLAIN, dir.dir.size, FIRST)
        };
        dir.image.put_inode(nid, &inode);
        dir.dir = Inode::read(dir.image.image(), &dir.sb, dir.dir.nid).unwrap();
        let (image, size) = (dir.image.image(), dir.dir.size);
        let list = |pos| {
            let mut cursor = Cursor::new(pos);
            let mut buf = [0; NAME_MAX];
            let mut names = Vec::new();
            while let Some(entry) = cursor.next(image, &dir.sb, &dir.dir, &mut buf).unwrap() {
                names.push((entry.name.to_vec(), entry.nid, entry.pos, entry.next));
            }
            (names, cursor.pos())
        };
        let dot = (b".".to_vec(), dir.dir.nid, size, size + 1);
        let (names, end) = list(0);
        assert_eq!((names.last(), end), (Some(&dot), size + 1));
        assert_eq!(names.len(), if size == 0 { 1 } else { 3 });
        // Behind the last dirent, still in its block.
        let (names, _) = list(size.saturating_sub(1));
        assert_eq!(names, std::slice::from_ref(&dot));
        assert_eq!(list(size), (vec![dot], size + 1));
        assert_eq!(list(size + 1), (Vec::new(), size + 1));
        assert_eq!(list(u64::MAX), (Vec::new(), u64::MAX));
    }
    let with_dot = one_block(&directory(&[b".", b".."], 512));
    assert_eq!(with_dot.list(with_dot.dir.size), Ok(Vec::new()));
}

/// A directory whose second block is on another device.
#[test]
fn on_two_devices() {
    let names: Vec<String> = (0..50).map(|i| format!("name{i:03}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let bytes = directory(&names, 512);
    let mut dir = fixture(9, PLAIN, &bytes[..512]);
    let slot = DeviceSlot {
        blocks: 4,
        uniaddr: u64::from(FIRST) + 1,
    };
    dir.image.put_devices(2, &[slot]);
    let nid = usize::try_from(dir.dir.nid).unwrap();
    let size = u64::try_from(bytes.len()).unwrap();
    dir.image
        .put_inode(nid, &TestInode::dir(PLAIN, size, FIRST));
    let mut second = bytes[512..].to_vec();
    second.resize(4 * 512, 0);
    let volume = TestVolume {
        primary: dir.image.image(),
        extra: vec![(slot, second)],
    };
    let sb = dir.image.superblock();
    let inode = Inode::read(&volume, &sb, dir.dir.nid).unwrap();
    let mut cursor = Cursor::new(0);
    let mut buf = [0; NAME_MAX];
    for name in &names {
        let entry = cursor.next(&volume, &sb, &inode, &mut buf);
        let entry = entry.unwrap().unwrap();
        assert_eq!(entry.name, *name);
        let found = lookup(&volume, &sb, &inode, name);
        assert_eq!(found, Ok(Some(found_at(&entry))));
    }
    assert_eq!(cursor.next(&volume, &sb, &inode, &mut buf), Ok(None));
    assert_eq!(lookup(&volume, &sb, &inode, b"name"), Ok(None));
}

/// Names with long common starts, and all others.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), 1_u8..=255].prop_map(|byte| match byte {
        b'/' => b'0',
        byte => byte,
    });
    prop_oneof![
        prop::collection::vec(byte.clone(), 1..12),
        prop::collection::vec(byte, 1..=255),
        "a{1,100}b?".prop_map(String::into_bytes),
    ]
}

#[cfg(not(miri))]
proptest! {
    /// The directory is a sorted set of names.
    #[test]
    fn model(
        names in prop::collection::btree_set(name(), 1..60),
        absent in prop::collection::vec(name(), 10),
        cookies in prop::collection::vec(prop_oneof![0_u64..10_000, any::<u64>()], 4),
        bits in 9_u8..=12,
        inline in any::<bool>(),
    ) {
        let sorted: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let bytes = directory(&sorted, 1 << bits);
        let fits_inline = (bytes.len() - 1) % (1 << bits) < (1 << bits) - 32;
        let layout = if inline && fits_inline { INLINE } else { PLAIN };
        let dir = fixture(bits, layout, &bytes);

        let listed = dir.list(0).unwrap();
        let expected: Vec<_> = (100..)
            .zip(&names)
            .map(|(nid, name)| (name.clone(), nid, file_type_of(name)))
            .collect();
        let without_cookies: Vec<_> = listed
            .iter()
            .map(|(name, nid, file_type, _)| (name.clone(), *nid, *file_type))
            .collect();
        prop_assert_eq!(without_cookies, expected);

        for (name, nid, file_type, _) in &listed {
            prop_assert_eq!(dir.lookup(name), Ok(Some((*nid, *file_type))));
        }
        for name in absent.iter().filter(|name| !names.contains(*name)) {
            prop_assert_eq!(dir.lookup(name), Ok(None));
        }
        // Wherever it looks first, a lookup finds the same.
        let image = dir.image.image();
        for name in names.iter().chain(&absent) {
            let found = lookup(image, &dir.sb, &dir.dir, name);
            let there = listed.iter().find(|entry| entry.0 == *name);
            let cookies = cookies.iter().chain(there.map(|entry| &entry.3));
            for cookie in cookies {
                let near = lookup_near(image, &dir.sb, &dir.dir, name, *cookie);
                prop_assert_eq!(near, found);
            }
        }
        for (index, entry) in listed.iter().enumerate().step_by(7) {
            prop_assert_eq!(&dir.list(entry.3).unwrap()[..], &listed[index..]);
        }
    }

    /// Whatever is in a directory's blocks, each entry that comes out of them is one of the names
    /// that are there, and the listing ends.
    #[test]
    fn hostile(
        names in prop::collection::btree_set(name(), 1..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        pos in any::<u64>(),
    ) {
        let sorted: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut bytes = directory(&sorted, 512);
        for (index, value) in changes {
            let place = index.index(bytes.len());
            bytes[place] = value;
        }
        let dir = fixture(9, PLAIN, &bytes);
        for image in [dir.image.image(), &dir.image.image()[..4096 + 100]] {
            let mut cursor = Cursor::new(pos % dir.dir.size);
            let mut seen = BTreeSet::new();
            while let Ok(Some(record)) = cursor.advance(image, &dir.sb, &dir.dir) {
                prop_assert!(record.pos < record.next && record.next == cursor.pos());
                prop_assert!((1..=NAME_MAX).contains(&record.name_len));
                let mut name = vec![0; record.name_len];
                prop_assert!(image.read_at(record.name_offset, &mut name).is_ok());
                prop_assert!(seen.insert(record.pos));
            }
            for name in &names {
                let _ = lookup(image, &dir.sb, &dir.dir, name);
            }
        }
    }

    /// What is in a directory does not depend on whether it is compressed.
    #[test]
    fn compressed(
        names in prop::collection::btree_set(name(), 1..50),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cookie in any::<u16>(),
    ) {
        let sorted: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut bytes = directory(&sorted, 512);
        for (index, value) in changes {
            let place = index.index(bytes.len());
            bytes[place] = value;
        }
        let plain = fixture(9, PLAIN, &bytes);
        let image = plain.image.image();
        let volume = Decoded { image, data: &bytes };
        let mut dir = plain.dir.clone();
        dir.layout = Layout::CompressedCompact;
        for cookie in [0, u64::from(cookie)] {
            let (mut one, mut other) = (Cursor::new(cookie), Cursor::new(cookie));
            loop {
                let (mut buf, mut other_buf) = ([0; NAME_MAX], [0; NAME_MAX]);
                let expected = one.next(image, &plain.sb, &plain.dir, &mut buf);
                let found = other.next(&volume, &plain.sb, &dir, &mut other_buf);
                prop_assert_eq!(&found, &expected);
                if !matches!(found, Ok(Some(_))) {
                    break;
                }
            }
            for name in &names {
                let expected = lookup(image, &plain.sb, &plain.dir, name);
                prop_assert_eq!(lookup(&volume, &plain.sb, &dir, name), expected);
                // Names that are not in order may be found only this way.
                let expected = lookup_near(image, &plain.sb, &plain.dir, name, cookie);
                let found = lookup_near(&volume, &plain.sb, &dir, name, cookie);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
