// SPDX-License-Identifier: GPL-2.0

//! Pages of the page cache that lie apart in memory, mapped one behind the other: so that bytes
//! for all of them can be decoded in one go, straight to where they are wanted.

use crate::bindings;
use core::{ops::Range, ptr, ptr::NonNull, slice};
use kernel::{
    ffi::c_uint,
    page::{Page, PAGE_SIZE},
    prelude::*,
};

const PAGE: u64 = PAGE_SIZE as u64;
/// For fewer pages a mapping costs more than copying what they have.
const FEWEST: usize = 5;
/// Up to so many pages the kernel has addresses at hand (`VMAP_MAX_ALLOC`).
const MOST: usize = 64;

/// Bytes of locked folios of the page cache, mapped.
///
/// # Invariants
///
/// `count` pages are mapped at `start`: `front`, if there is one, and pages of locked folios.
/// What `bytes` has of them nobody else uses.
pub(crate) struct Span {
    start: NonNull<u8>,
    count: usize,
    bytes: Range<usize>,
    /// What it holds until it is unmapped.
    _front: Option<Page>,
}

impl Span {
    /// Maps the file's bytes from `position` on, `len` of them, and room for `before` bytes before
    /// them, which are not the file's.
    ///
    /// None if that is not worth it, or too much, or there is no memory for it; or if there is
    /// something before bytes that do not begin at a page, or a page of it and more.
    ///
    /// # Safety
    ///
    /// The bytes must be in locked folios of `mapping`, and nobody may use them as long as the span
    /// exists.
    pub(super) unsafe fn new(
        mapping: *mut bindings::address_space,
        position: u64,
        before: usize,
        len: usize,
    ) -> Option<Self> {
        let within = (position % PAGE) as usize;
        let has_front = before != 0;
        if before >= PAGE_SIZE || has_front && within != 0 {
            return None;
        }
        let of_file = (within + len).div_ceil(PAGE_SIZE);
        let count = of_file + usize::from(has_front);
        let mut pages = [ptr::null_mut(); MOST];
        let pages = pages
            .get_mut(..count)
            .filter(|pages| pages.len() >= FEWEST)?;
        let (first, rest) = pages.split_at_mut_checked(count - of_file)?;
        let mut front = None;
        for page in first {
            *page = front.insert(Page::alloc_page(GFP_KERNEL).ok()?).as_ptr();
        }
        for (page, index) in rest.iter_mut().zip(position / PAGE..) {
            // SAFETY: By the caller's promise there is a folio, which stays while it is locked.
            *page = unsafe { bindings::erodax_locked_page(mapping, index as usize) };
        }
        let start = match has_front {
            true => PAGE_SIZE - before,
            false => within,
        };
        // SAFETY: These are pages. No particular node is asked for.
        let address = unsafe { bindings::vm_map_ram(pages.as_mut_ptr(), count as c_uint, -1) };
        // INVARIANT: They are mapped there, and these are the bytes of the caller's promise and
        // of the page in front.
        Some(Self {
            start: NonNull::new(address.cast())?,
            count,
            bytes: start..start + before + len,
            _front: front,
        })
    }

    /// The bytes, those before the file's first.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: Mapped and used by nobody else by the invariant.
        unsafe {
            let start = self.start.as_ptr().add(self.bytes.start);
            slice::from_raw_parts_mut(start, self.bytes.len())
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: Mapped by `vm_map_ram`, as so many pages.
        unsafe { bindings::vm_unmap_ram(self.start.as_ptr().cast(), self.count as c_uint) };
    }
}
