// SPDX-License-Identifier: GPL-2.0

//! Pages of carve-outs that the hardware has lost.
//!
//! The MM finds the programs that have a page by the page's file. Pages of images, which several
//! files and mounts may show, have none, so the module is asked ([`OPERATIONS`]): it notes the page
//! and takes the pages of carve-outs from all programs. They fault them in again; who wants
//! the lost one gets SIGBUS.
//!
//! It is a note, not a flag of the page: of a compound page's `struct page`s most share their
//! memory (Documentation/mm/vmemmap_dedup.rst), so that a flag would be that of many pages.
//!
//! Locks, from the outside: the MM's `mf_mutex`, or in a fault the mmap or VMA lock; the one here,
//! shared in each fault, and exclusive from the note until nobody has the page mapped, so that a
//! fault sees either no loss or one that is dealt with; the compound page's lock, or that of
//! [`users`].

use super::users;
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ffi::c_int,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};
use erodax_format::Error as FormatError;
use kernel::{
    error::{from_result, to_result},
    ffi::c_ulong,
    page::PAGE_SHIFT,
    prelude::*,
    types::{NotThreadSafe, Opaque},
};

/// Whether any page was lost since the module was loaded.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether any page was lost since the module was loaded: spares each look at memory a search.
#[inline(always)]
pub(super) fn are_any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// What a reader of lost memory gets: `EIO`.
#[cold]
pub(super) fn lost() -> FormatError {
    FormatError::Volume(EIO.to_errno())
}

/// The lost pages of a carve-out.
#[pin_data(PinnedDrop)]
pub(super) struct Losses {
    #[pin]
    lock: Opaque<bindings::percpu_rw_semaphore>,
    /// Page frames. Looked at with the lock held, changed with it held exclusively.
    frames: UnsafeCell<KVec<usize>>,
}

// SAFETY: The lock is the kernel's, and guards the rest.
unsafe impl Send for Losses {}
// SAFETY: As above.
unsafe impl Sync for Losses {}

impl Losses {
    /// None yet.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            lock <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` stays where it is, being pinned.
                to_result(unsafe { bindings::erodax_init_lock(slot) })
            }),
            frames: UnsafeCell::new(KVec::new()),
        }? Error)
    }

    /// Lets no page get lost as long as the value exists. Not to be asked for twice by one thread.
    pub(super) fn hold(&self) -> Held<'_> {
        // SAFETY: The lock was initialized, and this is a context that can sleep.
        unsafe { bindings::erodax_lock_shared(self.lock.get()) };
        // INVARIANT: Held shared from here on.
        Held(self, NotThreadSafe)
    }

    /// Notes lost pages and takes them from whoever has them mapped.
    fn lose(&self, frames: Range<usize>) -> Result {
        let exclusive = Exclusive::lock(self);
        exclusive.note(frames)?;
        // Mounts whose last user this is end after the lock is given back.
        let mounts = users::unmap_all()?;
        drop(exclusive);
        drop(mounts);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Losses {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialized in `new`, and nobody has it: holders have a reference.
        unsafe { bindings::percpu_free_rwsem(self.lock.get()) };
    }
}

/// Pages that are lost, while no more get so.
///
/// # Invariants
///
/// The lock is held shared.
pub(super) struct Held<'a>(&'a Losses, NotThreadSafe);

impl Held<'_> {
    fn frames(&self) -> &[usize] {
        // SAFETY: By the invariant nobody changes it.
        unsafe { &*self.0.frames.get() }
    }

    /// The first lost page among these.
    pub(super) fn first_in(&self, frames: Range<usize>) -> Option<usize> {
        let lost = self.frames().iter().copied();
        lost.filter(|lost| frames.contains(lost)).min()
    }

    /// Those of the pages around `wanted`, which is one of them and not lost, that can be mapped
    /// together with it.
    pub(super) fn intact_around(&self, wanted: usize, frames: Range<usize>) -> Range<usize> {
        let lost = self.frames().iter().copied();
        let before = lost.filter(|lost| (frames.start..wanted).contains(lost));
        let start = before.max().map_or(frames.start, |lost| lost + 1);
        start..self.first_in(wanted..frames.end).unwrap_or(frames.end)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: Held shared by the invariant.
        unsafe { bindings::erodax_unlock_shared(self.0.lock.get()) };
    }
}

/// The right to change what is noted.
///
/// # Invariants
///
/// The lock is held exclusively.
struct Exclusive<'a>(&'a Losses);

impl<'a> Exclusive<'a> {
    fn lock(losses: &'a Losses) -> Self {
        // SAFETY: The lock was initialized, and this is a context that can sleep.
        unsafe { bindings::percpu_down_write(losses.lock.get()) };
        // INVARIANT: Held from here on.
        Self(losses)
    }

    fn note(&self, frames: Range<usize>) -> Result {
        // SAFETY: By the invariant nobody else looks at it.
        let noted = unsafe { &mut *self.0.frames.get() };
        for frame in frames {
            if !noted.contains(&frame) {
                noted.push(frame, GFP_KERNEL)?;
                pr_err!("the page at {:#x} is lost\n", frame << PAGE_SHIFT);
            }
            ANY.store(true, Ordering::Relaxed);
            // SAFETY: The MM calls only for pages of the carve-out.
            unsafe { bindings::erodax_break_block(bindings::erodax_pfn_to_page(frame)) };
        }
        Ok(())
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        // SAFETY: Held by the invariant.
        unsafe { bindings::percpu_up_write(self.0.lock.get()) };
    }
}

/// For a map whose owner is the carve-out's [`Losses`].
pub(super) static OPERATIONS: bindings::dev_pagemap_ops = bindings::dev_pagemap_ops {
    folio_free: None,
    migrate_to_ram: None,
    memory_failure: Some(memory_failure),
    folio_split: None,
};

/// # Safety
///
/// Called by the MM for pages of a carve-out, in a context that can sleep, with a reference that
/// `memunmap_pages` waits for.
unsafe extern "C" fn memory_failure(
    map: *mut bindings::dev_pagemap,
    frame: c_ulong,
    count: c_ulong,
    _flags: c_int,
) -> c_int {
    // SAFETY: By the owner's promise; it is there until `memunmap_pages` has returned.
    let losses = unsafe { &*(*map).owner.cast::<Losses>() };
    from_result(|| losses.lose(frame..frame + count).map(|()| 0))
}
