// SPDX-License-Identifier: GPL-2.0

//! The bytes of a regular file, in every way to get at them.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use anyhow::Result;
use erodax_agent::guest::{
    calls::extents,
    mapping::{Advice, MapFlags, Mapping, ProtFlags, PAGE},
};
use rustix::{
    fs::{memfd_create, open, seek, MemfdFlags, Mode, OFlags, SeekFrom},
    io::{pwrite, Errno},
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
    /// A mutant's seed, which decides on what has no reason of its own.
    pub(super) seed: u64,
}

impl Copy {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            file: memfd_create("page", MemfdFlags::CLOEXEC)?.into(),
            page: vec![0; PAGE],
            seed: 0,
        })
    }

    /// Asks everything about a file.
    pub(super) fn ask(&mut self, path: &str, size: u64, transcript: &mut Transcript) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(error) => return transcript.note(path, Question::Open, Err(errno(error))),
        };
        let mut note = |question, answer| transcript.note(path, question, answer);
        note(Question::Extents, mapped_extents(&file));
        note(Question::Seek, holes(&file));
        let pages = size.div_ceil(PAGE_SIZE);
        let last = pages.saturating_sub(LAST_PAGES).max(FIRST_PAGES)..pages;
        for part in [0..FIRST_PAGES.min(pages), last] {
            if !part.is_empty() {
                self.ask_pages(&file, part, size, &mut note);
            }
        }
    }

    /// Reads pages, and maps them, each before the next one: in different orders, so that what one
    /// way leaves in the page cache does not always help the other. Half of the mappings have nothing
    /// read ahead for them.
    fn ask_pages(
        &mut self,
        file: &File,
        part: Range<u64>,
        size: u64,
        note: &mut impl FnMut(Question, Answer),
    ) {
        let len = usize::try_from(part.end - part.start).map_or(usize::MAX, |pages| pages * PAGE);
        let start = part.start * PAGE_SIZE;
        let map = Mapping::new(file, start, len, ProtFlags::READ, MapFlags::SHARED);
        let map = map.and_then(|mut map| {
            if self.seed & 2 != 0 {
                map.advise(0..len, Advice::Random)?;
            }
            Ok(map)
        });
        let odd = size.wrapping_add(self.seed) % 2 == 1;
        for page in part.clone() {
            for by_reading in [odd, !odd] {
                if by_reading {
                    note(Question::Page(page), self.read(file, page));
                    continue;
                }
                let rest = size - page * PAGE_SIZE;
                let mapped = map.as_ref().map(|map| page_of(map, page - part.start));
                let (bytes, tail) = self.mapped(mapped, rest);
                note(Question::Mapped(page), bytes);
                if let Some(tail) = tail {
                    note(Question::Tail, Ok(tail));
                }
            }
        }
    }

    fn read(&mut self, file: &File, page: u64) -> Answer {
        let read = file.read_at(&mut self.page, page * PAGE_SIZE);
        let read = read.map(|len| Value::content(&self.page[..len]));
        read.map_err(|error| error.raw_os_error().unwrap_or(0))
    }

    /// A mapped page, of which as much as `rest` is the file's, and if it is the last one, what
    /// follows the file's end in it.
    fn mapped(&mut self, page: Result<&[u8], &Errno>, rest: u64) -> (Answer, Option<Value>) {
        let copied = page.map_err(|error| *error);
        let copied = copied.and_then(|bytes| pwrite(&self.file, bytes, 0));
        let copied = copied.map_err(errno).and_then(|len| {
            let read = self.file.read_at(&mut self.page[..len], 0);
            read.map_err(|error| error.raw_os_error().unwrap_or(0))
        });
        match copied {
            Err(error) => (Err(error), None),
            Ok(len) => {
                let end = usize::try_from(rest).unwrap_or(PAGE).min(len);
                let (file, behind) = self.page[..len].split_at(end);
                let is_clean = behind.iter().all(|byte| *byte == 0);
                let tail = match is_clean {
                    true => Value::Done,
                    false => Value::Bytes(behind.to_vec()),
                };
                let is_last = rest <= PAGE_SIZE;
                (Ok(Value::content(file)), is_last.then_some(tail))
            }
        }
    }
}

/// A page of a mapping.
fn page_of(map: &Mapping, number: u64) -> &[u8] {
    let start = usize::try_from(number).map_or(usize::MAX, |number| number * PAGE);
    &map.bytes()[start..start + PAGE]
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
