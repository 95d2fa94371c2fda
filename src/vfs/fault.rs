// SPDX-License-Identifier: GPL-2.0

//! Page faults in mappings of files whose pages are memory of ours.
//!
//! Runs under the VMA lock or the mmap lock, which the caller of the fault handler holds; the
//! page-table lock is taken inside each insertion.

use crate::bindings;
use core::{marker::PhantomData, ops::Range};
use kernel::{
    ffi::{c_int, c_ulong},
    page::{Page, PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
};

/// Entries of a page table.
const ENTRIES: u64 = (PAGE_SIZE / size_of::<bindings::pte_t>()) as u64;

/// What a fault handler has done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(bindings::vm_fault_t);

impl Outcome {
    /// A page is mapped: the access can be tried again.
    pub(crate) const MAPPED: Self = Self(bindings::vm_fault_reason_VM_FAULT_NOPAGE);
    /// No memory for it.
    pub(crate) const OUT_OF_MEMORY: Self = Self(bindings::vm_fault_reason_VM_FAULT_OOM);
    /// There is nothing at that address: the process gets SIGBUS.
    pub(crate) const NOTHING_THERE: Self = Self(bindings::vm_fault_reason_VM_FAULT_SIGBUS);
    /// The hardware has lost the page: the process gets SIGBUS with BUS_MCEERR_AR.
    pub(crate) const POISONED: Self = Self(bindings::vm_fault_reason_VM_FAULT_HWPOISON);
    /// The kernel has been given the page, to map it or copy it for the process.
    const PAGE_GIVEN: Self = Self(0);

    /// The same, with the page's lock, which the kernel gives back when it has mapped it.
    const LOCKED_PAGE_GIVEN: Self = Self(bindings::vm_fault_reason_VM_FAULT_LOCKED);

    /// What a function of the kernel's has done.
    pub(super) fn from_code(code: bindings::vm_fault_t) -> Self {
        Self(code)
    }

    /// As the kernel has it.
    pub(super) fn code(self) -> bindings::vm_fault_t {
        self.0
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        if error == ENOMEM {
            Self::OUT_OF_MEMORY
        } else {
            Self::NOTHING_THERE
        }
    }
}

/// A fault being handled.
///
/// # Invariants
///
/// The pointer is the `vm_fault` of a fault handler that is running, with the locks that
/// handlers have. The mapping is not both shared and writable, and of a file.
pub(crate) struct Fault<'a>(*mut bindings::vm_fault, PhantomData<&'a mut ()>);

impl<'a> Fault<'a> {
    /// # Safety
    ///
    /// `raw` must be what a fault handler was called with, in a mapping made by
    /// [`map_readonly`].
    pub(crate) unsafe fn from_raw(raw: *mut bindings::vm_fault) -> Self {
        // INVARIANT: By the caller's promise; `map_readonly` refuses the other mappings.
        Self(raw, PhantomData)
    }

    pub(super) fn as_ptr(&self) -> *const bindings::vm_fault {
        self.0
    }

    fn place(&self) -> &bindings::vm_fault__bindgen_ty_1 {
        // SAFETY: Valid by the invariant; these members don't change during a fault.
        unsafe { &(*self.0).__bindgen_anon_1 }
    }

    /// The file that is mapped.
    pub(crate) fn file(&self) -> *mut bindings::file {
        // SAFETY: A VMA of a file, which it holds.
        unsafe { (*self.place().vma).vm_file }
    }

    /// Page of the file that is wanted.
    pub(crate) fn index(&self) -> u64 {
        self.place().pgoff as u64
    }

    /// Whether the process is about to get its own copy of the page.
    pub(crate) fn is_copy(&self) -> bool {
        // SAFETY: Valid by the invariant.
        unsafe { !(*self.0).cow_page.is_null() }
    }

    /// Entry of its page table that the wanted page belongs to.
    pub(crate) fn entry(&self) -> u64 {
        (self.place().address >> PAGE_SHIFT) as u64 % ENTRIES
    }

    /// Pages of the file, the wanted one among them, for which there is room in the mapping
    /// and in the page table.
    pub(crate) fn room(&self) -> Range<u64> {
        let place = self.place();
        // SAFETY: The VMA is valid, and locked against changes of its borders.
        let (vma_start, vma_end) = unsafe {
            let vma = &(*place.vma).__bindgen_anon_1.__bindgen_anon_1;
            (vma.vm_start, vma.vm_end)
        };
        let pages = |bytes: usize| (bytes >> PAGE_SHIFT) as u64;
        let before = pages(place.address.saturating_sub(vma_start)).min(self.entry());
        let after = pages(vma_end.saturating_sub(place.address)).min(ENTRIES - self.entry());
        self.index().saturating_sub(before)..self.index().saturating_add(after)
    }

    /// Those of the room that are in an aligned window of addresses of `count` pages, a power of
    /// two.
    pub(crate) fn window(&self, count: u64) -> Range<u64> {
        let room = self.room();
        let start = self.index().saturating_sub(self.entry() % count);
        start.max(room.start)..start.saturating_add(count).min(room.end)
    }

    fn flags(&self) -> bindings::vm_flags_t {
        // SAFETY: The VMA is valid, and locked against changes of its flags.
        unsafe { (*self.place().vma).__bindgen_anon_2.vm_flags }
    }

    /// Whether the process has said that it reads in order.
    pub(crate) fn is_in_order(&self) -> bool {
        self.flags() & bindings::VM_SEQ_READ != 0
    }

    /// Whether pages must come one by one, because each one is accounted to mlock.
    pub(crate) fn is_locked(&self) -> bool {
        self.flags() & bindings::VM_LOCKED != 0
    }

    /// Whether userfaultfd watches the mapping: only the kernel can map pages as that wants it.
    pub(crate) fn is_watched(&self) -> bool {
        // SAFETY: The VMA is valid.
        self.is_marked() || unsafe { bindings::erodax_is_watched(self.place().vma) }
    }

    /// Whether there is something in the page table that is no page: a mark of userfaultfd's,
    /// which the MM must take away itself. Inserting beside it would fail for ever.
    pub(crate) fn is_marked(&self) -> bool {
        // SAFETY: Valid by the invariant; the entry is there if the flag says so.
        unsafe {
            (*self.0).flags & bindings::fault_flag_FAULT_FLAG_ORIG_PTE_VALID != 0
                && (*self.0).__bindgen_anon_2.orig_pte.pte != 0
        }
    }

    /// What the open file remembers of the window before: the page after it, and its length.
    pub(crate) fn previous(&self) -> (u64, u32) {
        let state = self.read_ahead();
        // SAFETY: Part of the file. Another thread may write at the same time; whatever is
        // read is only a hint.
        unsafe {
            (
                (&raw const (*state).start).read_volatile() as u64,
                (&raw const (*state).size).read_volatile(),
            )
        }
    }

    /// Lets the open file remember a window.
    pub(crate) fn remember(&self, end: u64, len: u32) {
        let state = self.read_ahead();
        // SAFETY: As in `previous`.
        unsafe {
            (&raw mut (*state).start).write_volatile(end as usize);
            (&raw mut (*state).size).write_volatile(len);
        }
    }

    /// The file's state of reading ahead. The page cache, whose it is, reads no file that is
    /// mapped directly.
    fn read_ahead(&self) -> *mut bindings::file_ra_state {
        // SAFETY: The file is valid as long as the VMA.
        unsafe { &raw mut (*self.file()).__bindgen_anon_3.f_ra }
    }

    /// Maps a page as page `index` of the file; one that is mapped there already stays.
    ///
    /// The mapping takes a reference to the page.
    pub(crate) fn insert(&mut self, index: u64, page: &Page) -> Outcome {
        let mut at = bindings::vm_fault {
            __bindgen_anon_1: bindings::vm_fault__bindgen_ty_1 {
                vma: self.place().vma,
                address: self.address_of(index),
                ..pin_init::zeroed()
            },
            ..pin_init::zeroed()
        };
        // SAFETY: `vmf_insert_page_mkwrite` (mm/memory.c) uses these two members, refuses
        // addresses outside the VMA, takes the page-table lock and a reference to the page,
        // and needs no flag of the VMA. `page` is referenced, has no type and is not
        // anonymous, being memory of an image or one of our own.
        Outcome(unsafe { bindings::vmf_insert_page_mkwrite(&mut at, page.as_ptr(), false) })
    }

    /// Maps consecutive pages as those of the file with these numbers; what is mapped there
    /// already stays.
    ///
    /// # Safety
    ///
    /// The pages from `pfn` on must be reserved pages of System RAM that are held for as long
    /// as the file can be mapped, `pages` be inside [`Self::room`] with the wanted one among
    /// them, and neither [`Self::is_watched`] nor [`Self::is_locked`] be true.
    pub(crate) unsafe fn insert_reserved(&mut self, pages: Range<u64>, pfn: usize) -> Outcome {
        let wanted = pfn + pages_between(pages.start, self.index());
        // SAFETY: By the caller's promise this is a page.
        if unsafe { is_poisoned(wanted) } {
            return Outcome::POISONED;
        }
        let count = pages_between(pages.start, pages.end);
        let at = self.address_of(pages.start);
        // SAFETY: By the caller's promise this is memory as the function wants it, and inside
        // the VMA and one page table. Where such memory is mapped nobody makes huge pages: that
        // takes compound pages, or large folios in the page cache.
        answer(unsafe { bindings::erodax_map_pages(self.place().vma, at, pfn, count) })
    }

    /// Maps consecutive pages of any order as those of the file with these numbers, up to the
    /// first place on either side of the wanted page where something is mapped already.
    ///
    /// # Safety
    ///
    /// The pages from `pfn` on must be held for as long as the file can be mapped, be neither
    /// anonymous nor have a type, and `pages` be inside [`Self::room`] with the wanted one among
    /// them. Nobody may map a huge page there.
    pub(crate) unsafe fn insert_counted(&mut self, pages: Range<u64>, pfn: usize) -> Outcome {
        let before = pages_between(pages.start, self.index());
        // SAFETY: By the caller's promise this is a page.
        let is_poisoned = unsafe { is_poisoned(pfn + before) };
        if is_poisoned {
            return Outcome::POISONED;
        }
        if self.is_marked() {
            // The MM would take all of a compound page for a part of it.
            return Outcome::NOTHING_THERE;
        }
        let (vma, count) = (self.place().vma, pages_between(self.index(), pages.end));
        let (at, first) = (self.address_of(self.index()), self.address_of(pages.start));
        // SAFETY: By the caller's promise these are such pages, and inside the VMA.
        let error = unsafe { bindings::erodax_insert_pages(vma, at, pfn + before, count) };
        let outcome = answer(error);
        if outcome == Outcome::MAPPED {
            // These are a courtesy: whatever stops them, the fault is answered.
            // SAFETY: As above.
            unsafe { bindings::erodax_insert_pages(vma, first, pfn, before) };
        }
        outcome
    }

    /// Maps a compound page of 2 MiB by one entry; None if there is a page table already, or the
    /// process wants no huge pages.
    ///
    /// # Safety
    ///
    /// `pfn` must be the first page of such a page, which is held for as long as the file can
    /// be mapped, and all of it be what the mapping shows in the aligned 2 MiB around the
    /// wanted page, which must all be in the VMA.
    pub(crate) unsafe fn insert_huge(&mut self, pfn: usize) -> Option<Outcome> {
        // SAFETY: The fault is valid by the invariant; the rest is the caller's promise. The
        // MM looks again under the lock whether there is a page table.
        let outcome = Outcome(unsafe {
            if !bindings::erodax_wants_huge(self.0) {
                return None;
            }
            bindings::erodax_insert_huge(self.0, pfn)
        });
        (outcome == Outcome::MAPPED).then_some(outcome)
    }

    /// Address of page `index` of the file.
    fn address_of(&self, index: u64) -> usize {
        let place = self.place();
        let distance = index.wrapping_sub(self.index()) << PAGE_SHIFT;
        (place.address & !(PAGE_SIZE - 1)).wrapping_add(distance as usize)
    }

    /// Gives the kernel the page to map or to copy, which spares the process a second fault.
    ///
    /// What the kernel maps is this page of order 0, or all of the compound page that it is part
    /// of, if the VMA and the page table have room for it and userfaultfd does not watch. So give a
    /// part of a compound page only to be copied, if all of it is what the mapping shows, or where
    /// [`Self::is_marked`].
    pub(crate) fn give(&mut self, page: &Page) -> Outcome {
        // SAFETY: `do_cow_fault` (mm/memory.c) copies `page` and drops the reference that is
        // taken here; `do_read_fault` gives it to the mapping. Both check it for poison.
        unsafe {
            bindings::erodax_get_page(page.as_ptr());
            (*self.0).page = page.as_ptr();
        }
        Outcome::PAGE_GIVEN
    }

    /// As [`Self::give`], so that whoever has the page's lock later finds it mapped.
    pub(crate) fn give_locked(&mut self, page: &Page) -> Outcome {
        self.give(page);
        // SAFETY: The page is valid. Who else has the lock only maps or copies it.
        unsafe { bindings::erodax_lock_page(page.as_ptr()) };
        Outcome::LOCKED_PAGE_GIVEN
    }

    /// Maps a page where it is wanted, or gives it to be mapped.
    pub(crate) fn resolve(&mut self, page: &Page) -> Outcome {
        if self.is_copy() || self.is_watched() {
            self.give(page)
        } else {
            self.insert(self.index(), page)
        }
    }
}

fn pages_between(first: u64, end: u64) -> usize {
    // A page table has no more.
    end.saturating_sub(first) as usize
}

/// # Safety
///
/// There must be a page of that number.
unsafe fn is_poisoned(pfn: usize) -> bool {
    // SAFETY: By the caller's promise.
    unsafe { bindings::erodax_page_is_poisoned(bindings::erodax_pfn_to_page(pfn)) }
}

/// The outcome of inserting pages, as the C helpers tell it.
fn answer(error: c_int) -> Outcome {
    /// Nothing went wrong, or something is mapped there already, or the page table was just taken
    /// away. As for memory: where there is really none for a page table the MM gives up by
    /// itself before it calls us (`__do_fault`).
    const TRIED: [Error; 3] = [EBUSY, EFAULT, ENOMEM];

    if error == 0 || TRIED.iter().any(|tried| tried.to_errno() == error) {
        Outcome::MAPPED
    } else {
        Outcome::NOTHING_THERE
    }
}

/// Something that answers faults in its mappings.
pub(crate) trait FaultHandler {
    /// Maps the page that is wanted, and perhaps pages around it.
    ///
    /// # Safety
    ///
    /// The file that is mapped must be one of the implementor's.
    unsafe fn fault(fault: &mut Fault<'_>) -> Outcome;
}

/// The VMA operations of a [`FaultHandler`].
pub(crate) struct VmOperations<T>(PhantomData<T>);

impl<T: FaultHandler> VmOperations<T> {
    pub(crate) const TABLE: &'static bindings::vm_operations_struct =
        &bindings::vm_operations_struct {
            fault: Some(Self::fault),
            map_pages: Some(map_no_pages),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the MM for a mapping made by [`map_readonly`] of a file of `T`'s.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By this function's own requirements.
        unsafe { T::fault(&mut Fault::from_raw(vmf)).0 }
    }
}

/// Maps nothing, but that it exists lets `fault` run under the VMA lock alone
/// (`vmf_can_call_fault` in mm/memory.c).
///
/// # Safety
///
/// Touches nothing.
pub(super) unsafe extern "C" fn map_no_pages(
    _vmf: *mut bindings::vm_fault,
    _start: c_ulong,
    _end: c_ulong,
) -> bindings::vm_fault_t {
    0
}

/// Sets a new mapping up; one that could write to the file is refused with `EINVAL`.
///
/// # Safety
///
/// `desc` must be what `mmap_prepare` of a file was called with, and `operations` those of
/// the file's [`FaultHandler`].
pub(crate) unsafe fn map_readonly(
    desc: *mut bindings::vm_area_desc,
    operations: &'static bindings::vm_operations_struct,
) -> c_int {
    // SAFETY: By the caller's promise.
    unsafe {
        if bindings::erodax_is_shared_maywrite(desc) {
            return EINVAL.to_errno();
        }
        (*desc).vm_ops = operations;
    }
    0
}

/// Byte of the file at which page `index` begins, if there is one.
pub(crate) fn position_of(index: u64) -> Option<u64> {
    index.checked_mul(PAGE_SIZE as u64)
}
