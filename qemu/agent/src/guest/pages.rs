// SPDX-License-Identifier: GPL-2.0

//! Physical pages as the kernel accounts for them: which one is mapped where, how often each is
//! mapped, and how many references it has.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use anyhow::{Context, Result};

use super::{
    kcore::{symbol, KernelMemory},
    mapping::{Mapping, PAGE},
};

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

/// The kernel's array of `struct page`: nothing else tells how many references a page has, nor
/// anything at all of pages of ZONE_DEVICE.
pub struct PageStructs {
    kernel: KernelMemory,
    /// Address of the first element.
    base: u64,
    /// Bytes of an element, and where its `_refcount` and `_mapcount` are.
    size: usize,
    references: usize,
    maps: usize,
}

impl PageStructs {
    /// Finds it.
    ///
    /// # Errors
    /// When the kernel does not say where it is.
    pub fn find() -> Result<Self> {
        let kernel = KernelMemory::open()?;
        let number = |key| anyhow::Ok(usize::try_from(kernel.number(key)?)?);
        Ok(Self {
            base: kernel.word(symbol("vmemmap_base")?)?,
            size: number("SIZE(page)")?,
            references: number("OFFSET(page._refcount)")?,
            maps: number("OFFSET(page._mapcount)")?,
            kernel,
        })
    }

    /// How many references each of these page frames has.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn references(&self, frames: Range<u64>) -> Result<Vec<u32>> {
        self.field(frames, self.references)
    }

    /// How often each of these page frames is mapped by an entry of its own, less 1, if it is not
    /// part of a compound page.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn map_counts(&self, frames: Range<u64>) -> Result<Vec<u32>> {
        self.field(frames, self.maps)
    }

    /// All that is kept of each of these page frames, without its flags.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self, frames: Range<u64>) -> Result<Vec<Vec<u8>>> {
        const FLAGS: usize = 8;
        let structs = self.structs(frames)?;
        let content = |page: &[u8]| page.get(FLAGS..).unwrap_or_default().to_vec();
        Ok(structs.chunks_exact(self.size).map(content).collect())
    }

    fn field(&self, frames: Range<u64>, at: usize) -> Result<Vec<u32>> {
        let field = |page: &[u8]| -> Result<u32> {
            let bytes = page.get(at..at + 4).context("a field outside")?;
            Ok(u32::from_ne_bytes(bytes.try_into()?))
        };
        let structs = self.structs(frames)?;
        structs.chunks_exact(self.size).map(field).collect()
    }

    fn structs(&self, frames: Range<u64>) -> Result<Vec<u8>> {
        let mut structs = vec![0; usize::try_from(frames.end - frames.start)? * self.size];
        let first = self.base + frames.start * u64::try_from(self.size)?;
        self.kernel.read(first, &mut structs)?;
        Ok(structs)
    }
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
