// SPDX-License-Identifier: GPL-2.0

//! Physical pages as the kernel accounts for them: which one is mapped where, how often each is
//! mapped, and how many references it has.

use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    str,
};

use anyhow::{ensure, Context, Result};
use object::{
    elf::{FileHeader64, ProgramHeader64, PT_LOAD, PT_NOTE},
    read::elf::{FileHeader, ProgramHeader},
    LittleEndian, ReadCache,
};

use super::mapping::{Mapping, PAGE};

const ENTRY: usize = 8;

/// An entry of /proc/PID/pagemap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    entry: u64,
}

impl Mapped {
    /// The page frame, if a page is mapped there.
    pub fn frame(self) -> Option<u64> {
        const FRAME: u64 = (1 << 55) - 1;
        self.bit(63).then_some(self.entry & FRAME)
    }

    /// Whether the page is a file's, or shared memory.
    pub fn is_file(self) -> bool {
        self.bit(61)
    }

    fn bit(self, bit: u32) -> bool {
        (self.entry >> bit) & 1 != 0
    }
}

/// What is mapped at each page of a mapping.
///
/// # Errors
/// When /proc/self/pagemap cannot be read.
pub fn mapped(mapping: &Mapping) -> Result<Vec<Mapped>> {
    let bytes = mapping.bytes();
    let first = bytes.as_ptr().addr() / PAGE;
    let entries = table("/proc/self/pagemap", first..first + bytes.len() / PAGE)?;
    Ok(entries.into_iter().map(|entry| Mapped { entry }).collect())
}

/// How often each of these page frames is mapped.
///
/// # Errors
/// When /proc/kpagecount cannot be read.
pub fn map_counts(frames: Range<u64>) -> Result<Vec<u64>> {
    table("/proc/kpagecount", indices(frames)?)
}

/// Each page frame's `KPF_*` (linux/kernel-page-flags.h).
///
/// # Errors
/// When /proc/kpageflags cannot be read.
pub fn flags(frames: Range<u64>) -> Result<Vec<u64>> {
    table("/proc/kpageflags", indices(frames)?)
}

fn indices(frames: Range<u64>) -> Result<Range<usize>> {
    Ok(usize::try_from(frames.start)?..usize::try_from(frames.end)?)
}

/// Entries of 8 bytes.
fn table(path: &str, indices: Range<usize>) -> Result<Vec<u64>> {
    let mut bytes = vec![0; indices.len() * ENTRY];
    let at = u64::try_from(indices.start * ENTRY)?;
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, at))
        .with_context(|| format!("cannot read {path}"))?;
    let word = |word: &[u8]| Ok(u64::from_ne_bytes(word.try_into()?));
    bytes.chunks_exact(ENTRY).map(word).collect()
}

/// The kernel's array of `struct page`, read through /proc/kcore: nothing else tells how many
/// references a page has.
pub struct PageStructs {
    core: File,
    segments: Vec<Segment>,
    /// Address of the first element.
    base: u64,
    /// Bytes of an element, and where its `_refcount` is.
    size: u64,
    references: u64,
}

struct Segment {
    addresses: Range<u64>,
    offset: u64,
}

impl PageStructs {
    /// Finds it.
    ///
    /// # Errors
    /// When the kernel does not say where it is.
    pub fn find() -> Result<Self> {
        const CORE: &str = "/proc/kcore";
        type Header = ProgramHeader64<LittleEndian>;
        let core = File::open(CORE).with_context(|| format!("cannot open {CORE}"))?;
        let cache = ReadCache::new(File::open(CORE)?);
        let header = FileHeader64::<LittleEndian>::parse(&cache)?;
        let endian = header.endian()?;
        let programs: &[Header] = header.program_headers(endian, &cache)?;
        let of_type = |wanted| {
            programs
                .iter()
                .filter(move |program| program.p_type(endian) == wanted)
        };
        let mut info = None;
        for program in of_type(PT_NOTE) {
            let mut notes = program.notes(endian, &cache)?.context("no notes")?;
            while let Some(note) = notes.next()? {
                if note.name() == b"VMCOREINFO" {
                    info = Some(str::from_utf8(note.desc())?.to_owned());
                }
            }
        }
        let info = info.with_context(|| format!("{CORE} has no VMCOREINFO"))?;
        let number = |key: &str| -> Result<u64> {
            let mut lines = info.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            Ok(value
                .with_context(|| format!("VMCOREINFO has no {key}"))?
                .parse()?)
        };
        let segments = of_type(PT_LOAD).map(|program| {
            let start = program.p_vaddr(endian);
            Segment {
                addresses: start..start.saturating_add(program.p_memsz(endian)),
                offset: program.p_offset(endian),
            }
        });
        let mut found = Self {
            segments: segments.collect(),
            base: 0,
            size: number("SIZE(page)")?,
            references: number("OFFSET(page._refcount)")?,
            core,
        };
        let mut base = [0; 8];
        found.read(symbol("vmemmap_base")?, &mut base)?;
        found.base = u64::from_ne_bytes(base);
        Ok(found)
    }

    /// How many references each of these page frames has.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn references(&self, frames: Range<u64>) -> Result<Vec<u32>> {
        let size = usize::try_from(self.size)?;
        let field = usize::try_from(self.references)?;
        let mut structs = vec![0; usize::try_from(frames.end - frames.start)? * size];
        self.read(self.base + frames.start * self.size, &mut structs)?;
        let count = |page: &[u8]| -> Result<u32> {
            let bytes = page.get(field..field + 4).context("a field outside")?;
            Ok(u32::from_ne_bytes(bytes.try_into()?))
        };
        structs.chunks_exact(size).map(count).collect()
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.addresses.contains(&address))
            .with_context(|| format!("nothing at {address:#x} in /proc/kcore"))?;
        let offset = segment.offset + (address - segment.addresses.start);
        self.core
            .read_exact_at(bytes, offset)
            .with_context(|| format!("cannot read the kernel's memory at {address:#x}"))
    }
}

/// The address of a kernel symbol.
fn symbol(name: &str) -> Result<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let mut lines = symbols.lines().map(|line| line.split(' '));
    let address = lines.find_map(|mut fields| {
        let address = fields.next()?;
        (fields.nth(1)? == name).then_some(address)
    });
    let address = address.with_context(|| format!("the kernel has no symbol {name}"))?;
    let address = u64::from_str_radix(address, 16)?;
    ensure!(address != 0, "the kernel does not tell its addresses");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::Mapped;

    #[test]
    fn entries_are_as_in_pagemap_rst() {
        let file = Mapped {
            entry: (1 << 63) | (1 << 61) | (1 << 56) | 0x1234,
        };
        assert_eq!((file.frame(), file.is_file()), (Some(0x1234), true));
        let anonymous = Mapped {
            entry: (1 << 63) | (1 << 55) | 0x99,
        };
        assert_eq!(
            (anonymous.frame(), anonymous.is_file()),
            (Some(0x99), false)
        );
        let swapped = Mapped {
            entry: (1 << 62) | 0x77,
        };
        assert_eq!(swapped.frame(), None);
    }
}
