// SPDX-License-Identifier: GPL-2.0

use super::Subject;
use crate::views::{Minimal, Spread};
use erodax_format::flat::Extent;
use erodax_format::{Error, Result, Volume};

/// How many extents of a file are looked at, and how many of its bytes.
const MAX_EXTENTS: usize = 32;
const MAX_BYTES: usize = 8192;

/// With all devices given, at most so many.
const MAX_DEVICES: u16 = 8;

/// Flat data and chunks, read from one flat image.
pub fn extents(image: &[u8]) {
    if let Some(subject) = Subject::of(image) {
        check_extents(image, &subject);
        let mut buf = [0; 512];
        let pos = subject.question.pos;
        let read = subject.inode.read_data(image, &subject.sb, pos, &mut buf);
        let mut other = [0; 512];
        let minimal = Minimal(image);
        let again = subject
            .inode
            .read_data(&minimal, &subject.sb, pos, &mut other);
        assert_eq!(read, again);
        assert!(read.is_err() || buf == other);
    }
}

/// The same with all devices given.
pub fn devices(image: &[u8]) {
    if let Some(subject) = Subject::of(image) {
        check_extents(&Spread::new(image, &subject.sb, MAX_DEVICES), &subject);
    }
}

fn check_extents<V: Volume<Device = [u8]> + ?Sized>(volume: &V, subject: &Subject<'_>) {
    let Subject { sb, inode, .. } = subject;
    if inode.layout.is_compressed() {
        return;
    }
    for pos in [inode.size, inode.size.saturating_add(1), u64::MAX] {
        assert_eq!(inode.extent_at(volume, sb, pos), Err(Error::OutOfBounds));
    }
    let start = subject.pos_in(inode.size);
    let mut pos = start;
    for _ in 0..MAX_EXTENTS {
        let Ok(extent) = inode.extent_at(volume, sb, pos) else {
            break;
        };
        check_extent(volume, subject, pos, extent);
        pos += len_of(extent);
        if pos == inode.size {
            break;
        }
    }
    check_bytes(volume, subject, start);
}

fn len_of(extent: Extent) -> u64 {
    let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
    len
}

/// The part of an extent behind its first `count` bytes.
fn behind(extent: Extent, count: u64) -> Extent {
    match extent {
        Extent::Data {
            device,
            offset,
            len,
        } => Extent::Data {
            device,
            offset: offset.saturating_add(count),
            len: len - count,
        },
        Extent::Hole { len } => Extent::Hole { len: len - count },
    }
}

fn check_extent<V: Volume<Device = [u8]> + ?Sized>(
    volume: &V,
    subject: &Subject<'_>,
    pos: u64,
    extent: Extent,
) {
    let Subject {
        sb,
        inode,
        question,
        ..
    } = subject;
    let len = len_of(extent);
    assert!((1..=inode.size - pos).contains(&len), "{extent:?}");
    if let Extent::Data { device, .. } = extent {
        assert!(volume.device(device).is_ok());
    }
    // Somebody who wants less gets the same, or a part of it with all that is wanted.
    let wanted = u64::from(question.len);
    let part = inode.extent_for(volume, sb, pos, wanted).unwrap();
    let missing = len - len_of(part);
    assert_eq!(behind(part, 0), shorter(extent, missing));
    assert!(len_of(part) >= wanted.min(len));
    // From the middle on, it is the same extent.
    let skipped = u64::from(question.name) % len;
    let rest = inode.extent_at(volume, sb, pos + skipped);
    assert_eq!(rest, Ok(behind(extent, skipped)));
}

/// The extent without its last `count` bytes.
fn shorter(extent: Extent, count: u64) -> Extent {
    match extent {
        Extent::Data {
            device,
            offset,
            len,
        } => Extent::Data {
            device,
            offset,
            len: len - count,
        },
        Extent::Hole { len } => Extent::Hole { len: len - count },
    }
}

/// That reading gives the bytes that the extents name.
fn check_bytes<V: Volume<Device = [u8]> + ?Sized>(volume: &V, subject: &Subject<'_>, pos: u64) {
    let Subject { sb, inode, .. } = subject;
    let left = usize::try_from(inode.size - pos).unwrap_or(usize::MAX);
    let mut buf = vec![0xA5; MAX_BYTES];
    let expected = assemble(volume, subject, pos, left.min(MAX_BYTES));
    match inode.read_data(volume, sb, pos, &mut buf) {
        Ok(len) => assert_eq!(Ok(&buf[..len]), expected.as_deref()),
        Err(error) => assert_eq!(expected, Err(error)),
    }
}

/// `len` bytes from `pos` on, put together from extents.
fn assemble<V: Volume<Device = [u8]> + ?Sized>(
    volume: &V,
    subject: &Subject<'_>,
    pos: u64,
    len: usize,
) -> Result<Vec<u8>> {
    let Subject { sb, inode, .. } = subject;
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let at = pos + u64::try_from(bytes.len()).unwrap();
        let extent = inode.extent_at(volume, sb, at)?;
        let there = usize::try_from(len_of(extent)).unwrap_or(usize::MAX);
        let count = there.min(len - bytes.len());
        match extent {
            Extent::Hole { .. } => bytes.resize(bytes.len() + count, 0),
            Extent::Data { device, offset, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let range = start..start.saturating_add(count);
                let data = volume.device(device)?.get(range);
                bytes.extend_from_slice(data.ok_or(Error::OutOfBounds)?);
            }
        }
    }
    Ok(bytes)
}
