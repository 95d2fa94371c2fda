// SPDX-License-Identifier: GPL-2.0

//! The bytes of a regular file, in every way to get at them.

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::Result;
use erodax_agent::guest::{
    calls::extents,
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
};
use rustix::{
    fs::{memfd_create, open, seek, MemfdFlags, Mode, OFlags, SeekFrom},
    io::pwrite,
};

use super::walk::errno;
use crate::transcript::{Answer, Question, Transcript, Value};

/// Pages that are looked at from a file's start; beside them, the last ones.
const FIRST_PAGES: u64 = 8;
const LAST_PAGES: u64 = 2;

/// [`PAGE`], as positions in files are.
const PAGE_SIZE: u64 = PAGE as u64;

/// A place to which the kernel copies what is mapped: a page that cannot be had is an error then,
/// and no signal.
pub(super) struct Copy {
    file: File,
    page: Vec<u8>,
}

impl Copy {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            file: memfd_create("page", MemfdFlags::CLOEXEC)?.into(),
            page: vec![0; PAGE],
        })
    }

    /// Asks everything about a file.
    pub(super) fn ask(&mut self, path: &str, transcript: &mut Transcript) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(error) => return transcript.note(path, Question::Open, Err(errno(error))),
        };
        let size = file.metadata().map_or(0, |meta| meta.len());
        let mut note = |question, answer| transcript.note(path, question, answer);
        note(Question::Extents, mapped_extents(&file));
        note(Question::Seek, holes(&file));
        let pages = size.div_ceil(PAGE_SIZE);
        let last = pages.saturating_sub(LAST_PAGES).max(FIRST_PAGES)..pages;
        // In different orders, so that what one way leaves in the page cache does not always help
        // the other.
        let odd = size % 2 == 1;
        for page in (0..FIRST_PAGES.min(pages)).chain(last) {
            for by_reading in [odd, !odd] {
                if by_reading {
                    note(Question::Page(page), self.read(&file, page));
                } else {
                    let (bytes, tail) = self.mapped(&file, page, size);
                    note(Question::Mapped(page), bytes);
                    if let Some(tail) = tail {
                        note(Question::Tail, Ok(tail));
                    }
                }
            }
        }
    }

    fn read(&mut self, file: &File, page: u64) -> Answer {
        let read = file.read_at(&mut self.page, page * PAGE_SIZE);
        let read = read.map(|len| Value::content(&self.page[..len]));
        read.map_err(|error| error.raw_os_error().unwrap_or(0))
    }

    /// A page by a mapping, and if it is the last one, what follows the file's end in it.
    fn mapped(&mut self, file: &File, page: u64, size: u64) -> (Answer, Option<Value>) {
        let at = page * PAGE_SIZE;
        let map = Mapping::new(file, at, PAGE, ProtFlags::READ, MapFlags::SHARED);
        let copied = map.and_then(|map| pwrite(&self.file, map.bytes(), 0));
        let copied = copied.map_err(errno).and_then(|len| {
            let read = self.file.read_at(&mut self.page[..len], 0);
            read.map_err(|error| error.raw_os_error().unwrap_or(0))
        });
        match copied {
            Err(error) => (Err(error), None),
            Ok(len) => {
                let end = usize::try_from(size - at).unwrap_or(PAGE).min(len);
                let (file, rest) = self.page[..len].split_at(end);
                let is_clean = rest.iter().all(|byte| *byte == 0);
                let tail = match is_clean {
                    true => Value::Done,
                    false => Value::Bytes(rest.to_vec()),
                };
                let is_last = size - at <= PAGE_SIZE;
                (Ok(Value::content(file)), is_last.then_some(tail))
            }
        }
    }
}

fn mapped_extents(file: &File) -> Answer {
    let extents = extents(file, 0, u64::MAX);
    let extents = extents.map_err(|error| error.raw_os_error().unwrap_or(0))?;
    let fields = extents.iter().map(|extent| {
        let flags = u64::from(extent.flags);
        [extent.logical, extent.physical, extent.length, flags]
    });
    Ok(Value::Extents(fields.collect()))
}

/// Where the first hole is, and the first data; an error's number is negative.
fn holes(file: &File) -> Answer {
    let place = |from| match seek(file, from) {
        Ok(at) => i128::from(at),
        Err(error) => -i128::from(errno(error)),
    };
    let places = [SeekFrom::Hole(0), SeekFrom::Data(0)].map(place);
    Ok(Value::Numbers(places.to_vec()))
}
