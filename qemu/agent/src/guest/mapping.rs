// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped files for tests.
#![expect(unsafe_code, reason = "mapping memory has no safe form")]

use std::{ffi::c_void, ops::Range, os::fd::AsFd, ptr, ptr::NonNull, slice};

pub use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::{
    io::Errno,
    mm::{madvise, mlock, mmap, mprotect, munmap},
};

/// A range of mapped pages.
///
/// # Invariants
/// `base..base + len` is mapped by this process until drop, starts and ends at page boundaries,
/// and belongs to this value alone. No write goes to it but through `&mut self`: tests map files
/// that nobody writes, or privately. A page that cannot be faulted in or must not be accessed ends
/// the process by a signal; the access does not return.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

/// What the kernel maps at least.
pub const PAGE: usize = 4096;

impl Mapping {
    /// Maps `len` bytes, rounded up to pages, of `file` from `offset` on.
    ///
    /// # Errors
    /// The system call's.
    pub fn new(
        file: impl AsFd,
        offset: u64,
        len: usize,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> Result<Self, Errno> {
        let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::OVERFLOW)?;
        // SAFETY: without a fixed address the kernel chooses a range that is not in use.
        let base = unsafe { mmap(ptr::null_mut(), len, protection, flags, file, offset)? };
        let base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { base, len })
    }

    /// Maps `len` bytes of `file` from its start, privately and for reading.
    ///
    /// # Errors
    /// The system call's.
    pub fn read_only(file: impl AsFd, len: usize) -> Result<Self, Errno> {
        Self::new(file, 0, len, ProtFlags::READ, MapFlags::PRIVATE)
    }

    /// The mapped bytes, to the end of the last page.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is mapped, and `&self` keeps writers out (invariant).
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The mapped bytes, for writing to a private mapping.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range is mapped and belongs to `self` alone (invariant).
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// Reads the byte at `at` from memory, however often it was read before.
    pub fn touch(&self, at: usize) -> u8 {
        let byte: *const u8 = &self.bytes()[at];
        // SAFETY: the pointer was just made of a reference.
        unsafe { byte.read_volatile() }
    }

    /// Changes the protection of some of the pages.
    ///
    /// # Errors
    /// The system call's.
    pub fn protect(&mut self, range: Range<usize>, protection: MprotectFlags) -> Result<(), Errno> {
        let (start, len) = self.part(range);
        // SAFETY: the pages belong to `self` (invariant), which is exclusively borrowed.
        unsafe { mprotect(start, len, protection) }
    }

    /// Tells the kernel about the use of some of the pages.
    ///
    /// # Errors
    /// The system call's.
    pub fn advise(&mut self, range: Range<usize>, advice: Advice) -> Result<(), Errno> {
        let (start, len) = self.part(range);
        // SAFETY: the pages belong to `self` (invariant), which is exclusively borrowed: nobody
        // holds a reference to content that the advice makes the kernel drop.
        unsafe { madvise(start, len, advice) }
    }

    /// Locks all pages in memory.
    ///
    /// # Errors
    /// The system call's.
    pub fn lock(&self) -> Result<(), Errno> {
        // SAFETY: locking changes neither the content nor the protection of the mapped range.
        unsafe { mlock(self.base.as_ptr().cast(), self.len) }
    }

    /// Unmaps the pages of `range` and returns what is left before and after them.
    ///
    /// # Errors
    /// The system call's; everything is unmapped then.
    pub fn punch(self, range: Range<usize>) -> Result<(Self, Self), Errno> {
        let (start, len) = self.part(range.clone());
        // SAFETY: the pages belong to `self`, which is given up here.
        unsafe { munmap(start, len)? };
        let before = Self {
            base: self.base,
            len: range.start,
        };
        // SAFETY: `part` has checked that `range.end` lies inside the mapping or at its end.
        let base = unsafe { self.base.add(range.end) };
        let after = Self {
            base,
            len: self.len - range.end,
        };
        std::mem::forget(self);
        Ok((before, after))
    }

    fn part(&self, range: Range<usize>) -> (*mut c_void, usize) {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} is not inside the mapping"
        );
        assert!(
            range.start % PAGE == 0 && range.end % PAGE == 0,
            "{range:?} has no whole pages"
        );
        // SAFETY: just checked to lie inside the mapping.
        let start = unsafe { self.base.add(range.start) };
        (start.as_ptr().cast(), range.len())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the range belongs to `self` (invariant) and nobody can use it after drop.
            let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}
