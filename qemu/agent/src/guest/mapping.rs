// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped files for tests.
#![expect(unsafe_code, reason = "mapping memory has no safe form")]

use std::{
    ffi::c_void, io, ops::Range, os::fd::AsFd, ptr, ptr::NonNull, slice, sync::atomic::AtomicU32,
};

pub use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::{
    io::Errno,
    mm::{
        madvise, mlock, mmap, mmap_anonymous, mprotect, mremap, mremap_fixed, msync, munlock,
        munmap, MremapFlags, MsyncFlags,
    },
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
    /// Whether a page may have other content than the file's.
    writable: bool,
}

// SAFETY: The pages belong to the process, not to one of its threads.
unsafe impl Send for Mapping {}
// SAFETY: What can be done through `&self` changes no byte (invariant).
unsafe impl Sync for Mapping {}

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
        Ok(Self {
            base,
            len,
            writable: protection.contains(ProtFlags::WRITE),
        })
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
        self.writable |= protection.contains(MprotectFlags::WRITE);
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

    /// Drops pages that were never written to, while other threads read them: the next access
    /// faults the same content in again.
    ///
    /// # Errors
    /// The system call's; `EPERM` for a mapping that is or was writable.
    pub fn refault(&self, range: Range<usize>) -> Result<(), Errno> {
        if self.writable {
            return Err(Errno::PERM);
        }
        let (start, len) = self.part(range);
        // SAFETY: the pages belong to `self` (invariant), and what comes back in their place is
        // what the file has, as before.
        unsafe { madvise(start, len, Advice::LinuxDontNeed) }
    }

    /// Faults pages in without touching them.
    ///
    /// # Errors
    /// The system call's; `EHWPOISON` if the hardware has lost one, `EFAULT` where a touch would get
    /// SIGBUS for another reason.
    pub fn populate(&self, range: Range<usize>) -> Result<(), Errno> {
        let (start, len) = self.part(range);
        // SAFETY: the pages belong to `self` (invariant), and are only read.
        unsafe { madvise(start, len, Advice::LinuxPopulateRead) }
    }

    /// Which pages are in memory, as mincore(2) says.
    ///
    /// # Errors
    /// The system call's.
    pub fn resident(&self) -> io::Result<Vec<bool>> {
        let mut pages = vec![0_u8; self.len / PAGE];
        // SAFETY: the range is mapped (invariant), and there is a byte for each of its pages.
        let result =
            unsafe { libc::mincore(self.base.as_ptr().cast(), self.len, pages.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages.iter().map(|page| page & 1 != 0).collect())
    }

    /// Writes back what was written, as msync(2) does.
    ///
    /// # Errors
    /// The system call's.
    pub fn sync(&self, flags: MsyncFlags) -> Result<(), Errno> {
        // SAFETY: changes nothing in the mapped range.
        unsafe { msync(self.base.as_ptr().cast(), self.len, flags) }
    }

    /// Makes the mapping shorter or longer, where it is or at another address.
    ///
    /// # Errors
    /// The system call's; the mapping stays as it was.
    pub fn resize(&mut self, len: usize) -> Result<(), Errno> {
        let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::OVERFLOW)?;
        let (base, flags) = (self.base.as_ptr().cast(), MremapFlags::MAYMOVE);
        // SAFETY: the pages belong to `self` (invariant), which is exclusively borrowed, so that
        // nobody holds a pointer to where they were.
        let base = unsafe { mremap(base, self.len, len, flags)? };
        self.base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        self.len = len;
        Ok(())
    }

    /// Moves the mapping, with the pages that are in it, to another address.
    ///
    /// # Errors
    /// The system call's; the mapping stays where it was.
    pub fn relocate(&mut self) -> Result<(), Errno> {
        let none = ProtFlags::empty();
        // SAFETY: without a fixed address the kernel chooses a range that is not in use.
        let target = unsafe { mmap_anonymous(ptr::null_mut(), self.len, none, MapFlags::PRIVATE)? };
        let (base, flags) = (self.base.as_ptr().cast(), MremapFlags::MAYMOVE);
        // SAFETY: the pages belong to `self` (invariant), which is exclusively borrowed; what is
        // replaced is the range that was just reserved for them.
        let base = unsafe { mremap_fixed(base, self.len, self.len, flags, target)? };
        self.base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        Ok(())
    }

    /// The aligned word at `at`, for system calls that wait for it to change.
    pub fn word(&mut self, at: usize) -> &AtomicU32 {
        assert!(at % size_of::<u32>() == 0 && at + size_of::<u32>() <= self.len);
        // SAFETY: aligned and inside the mapping, as just checked; borrowed exclusively, so that
        // nobody reads it in another way.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    /// Undoes [`Mapping::lock`].
    ///
    /// # Errors
    /// The system call's.
    pub fn unlock(&self) -> Result<(), Errno> {
        // SAFETY: as in `lock`.
        unsafe { munlock(self.base.as_ptr().cast(), self.len) }
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
            writable: self.writable,
        };
        // SAFETY: `part` has checked that `range.end` lies inside the mapping or at its end.
        let base = unsafe { self.base.add(range.end) };
        let after = Self {
            base,
            len: self.len - range.end,
            writable: self.writable,
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
