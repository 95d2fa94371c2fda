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
    /// The kernel has been given the page, to copy or to map it for the process.
    const PAGE_GIVEN: Self = Self(0);

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

    /// Whether there is something in the page table that is no page: a mark of userfaultfd's,
    /// which the MM must take away itself. Inserting beside it would fail for ever.
    fn is_marked(&self) -> bool {
        // SAFETY: Valid by the invariant; the entry is there if the flag says so.
        unsafe {
            (*self.0).flags & bindings::fault_flag_FAULT_FLAG_ORIG_PTE_VALID != 0
                && (*self.0).__bindgen_anon_2.orig_pte.pte != 0
        }
    }

    /// Pages of the file around the wanted one that the mapping has room for: at most
    /// `count`, an aligned window of addresses (a power of two) that therefore has one page
    /// table, clipped to the VMA.
    pub(crate) fn window(&self, count: usize) -> Range<u64> {
        let place = self.place();
        // SAFETY: The VMA is valid, and locked against changes of its borders.
        let (vma_start, vma_end) = unsafe {
            let vma = &(*place.vma).__bindgen_anon_1.__bindgen_anon_1;
            (vma.vm_start, vma.vm_end)
        };
        let bytes = count << PAGE_SHIFT;
        let window_start = place.address & !(bytes - 1);
        let first = window_start.max(vma_start);
        let end = window_start.saturating_add(bytes).min(vma_end);
        let before = (place.address.saturating_sub(first) >> PAGE_SHIFT) as u64;
        let after = (end.saturating_sub(place.address) >> PAGE_SHIFT) as u64;
        self.index().saturating_sub(before)..self.index().saturating_add(after)
    }

    /// Maps a page as page `index` of the file; one that is mapped there already stays.
    ///
    /// The mapping takes a reference to the page.
    pub(crate) fn insert(&mut self, index: u64, page: &Page) -> Outcome {
        let place = self.place();
        let distance = index.wrapping_sub(self.index()) << PAGE_SHIFT;
        let mut at = bindings::vm_fault {
            __bindgen_anon_1: bindings::vm_fault__bindgen_ty_1 {
                vma: place.vma,
                address: place.address.wrapping_add(distance as usize),
                ..pin_init::zeroed()
            },
            ..pin_init::zeroed()
        };
        // SAFETY: `vmf_insert_page_mkwrite` (mm/memory.c) uses these two members, refuses
        // addresses outside the VMA, takes the page-table lock and a reference to the page,
        // and needs no flag of the VMA. `page` is referenced, has no type and is not
        // anonymous, being initrd memory or one of our own.
        Outcome(unsafe { bindings::vmf_insert_page_mkwrite(&mut at, page.as_ptr(), false) })
    }

    /// Gives the kernel the page: to map it where there is a mark, or to copy it, which spares
    /// the process a second fault.
    pub(crate) fn give(&mut self, page: &Page) -> Outcome {
        // SAFETY: `do_cow_fault` and `do_read_fault` (mm/memory.c) copy or map `page` and take
        // over the reference that is taken here.
        unsafe {
            bindings::erodax_get_page(page.as_ptr());
            (*self.0).page = page.as_ptr();
        }
        Outcome::PAGE_GIVEN
    }

    /// Maps a page where it is wanted, or gives it to be copied.
    pub(crate) fn resolve(&mut self, page: &Page) -> Outcome {
        if self.is_copy() || self.is_marked() {
            self.give(page)
        } else {
            self.insert(self.index(), page)
        }
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
