// SPDX-License-Identifier: GPL-2.0

//! Which memory may be served.
//!
//! System RAM belongs to the page allocator unless the boot code kept it aside: of it only
//! the retained initrd is served, and only while each of its pages is reserved and held. Other
//! memory is served where it is reserved: a carve-out.

use super::{
    carve_out::{CarveOut, CarveOuts},
    initrd::Retained,
    losses::{self, Losses},
    param::Range,
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    fmt,
    page::{BorrowedPage, PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    sync::Arc,
};

/// What kind of memory a region is, which decides how its pages can be mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// System RAM that the boot code kept because of `retain_initrd`: ordinary pages with a
    /// `struct page`, reserved, with a reference that nobody drops.
    RetainedInitrd,
    /// Memory that the kernel does not use, with compound pages of our own making.
    CarveOut,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetainedInitrd => "initrd",
            Self::CarveOut => "carve-out",
        })
    }
}

/// One image's memory.
///
/// # Invariants
///
/// 1. `image` lies inside the pages `first_pfn..first_pfn + page_count`, beginning in the
///    first and ending in the last: the image padded outward to pages.
/// 2. Each of these pages is mapped in the kernel, `base` being the address of the first,
///    has a `struct page`, and is held for as long as the region exists.
pub(crate) struct Region {
    image: Range,
    first_pfn: usize,
    page_count: usize,
    base: NonNull<u8>,
    kind: Kind,
    /// What holds the pages, if they are of our own making.
    carve_out: Option<Arc<CarveOut>>,
    name: KVec<u8>,
}

// SAFETY: By invariant 2 the memory is there for every CPU; the rest is plain data.
unsafe impl Send for Region {}
// SAFETY: As above; nothing is ever changed.
unsafe impl Sync for Region {}

impl Region {
    /// The region at an address that the user gave.
    pub(super) fn at(range: Range, carve_outs: &mut CarveOuts<'_>) -> Result<Arc<Self>> {
        match ram_share(padded(range)?) {
            Share::None => Self::in_carve_out(range, carve_outs.around(range)?),
            Share::Some => match Retained::find() {
                Some(retained) if retained.range().contains(range) => {
                    Self::in_retained(range, KVec::new())
                }
                Some(retained) => {
                    pr_err!(
                        "region {} is in use by the kernel: of System RAM only the retained \
                         initrd at {} can be served\n",
                        range,
                        retained.range(),
                    );
                    Err(EBUSY)
                }
                None => {
                    pr_err!(
                        "region {} is in use by the kernel, which keeps no initrd: boot with \
                         retain_initrd on the kernel command line\n",
                        range,
                    );
                    Err(EBUSY)
                }
            },
        }
    }

    /// The region of an image that lies in the retained initrd.
    pub(super) fn in_retained(image: Range, name: KVec<u8>) -> Result<Arc<Self>> {
        let pages = padded(image)?;
        let first_pfn = usize::try_from(pages.address >> PAGE_SHIFT)?;
        let page_count = usize::try_from(pages.size >> PAGE_SHIFT)?;
        let end = first_pfn + page_count;
        // SAFETY: The helper takes any numbers.
        let freed = unsafe { bindings::erodax_first_pfn_not_held(first_pfn, end) };
        if freed < end {
            pr_err!(
                "the initrd's page at {:#x} has been freed: boot with retain_initrd on the \
                 kernel command line\n",
                freed << PAGE_SHIFT
            );
            return Err(EBUSY);
        }
        // SAFETY: Only arithmetic; the pages are System RAM, which the kernel maps.
        let base = unsafe { bindings::erodax_phys_to_virt(pages.address) };
        let base = NonNull::new(base.cast()).ok_or(EFAULT)?;
        // INVARIANT: 1: `padded` rounds outward. 2: The pages are reserved System RAM with a
        // reference of the boot code's that nothing drops: the kernel's direct map covers them.
        let region = Self {
            image,
            first_pfn,
            page_count,
            base,
            kind: Kind::RetainedInitrd,
            carve_out: None,
            name,
        };
        Ok(Arc::new(region, GFP_KERNEL)?)
    }

    /// The region of an image that lies in a carve-out.
    fn in_carve_out(image: Range, memory: Arc<CarveOut>) -> Result<Arc<Self>> {
        let pages = padded(image)?;
        // INVARIANT: 1: `padded` rounds outward. 2: The pages are the carve-out's, which is
        // held beside them.
        let region = Self {
            image,
            first_pfn: usize::try_from(pages.address >> PAGE_SHIFT)?,
            page_count: usize::try_from(pages.size >> PAGE_SHIFT)?,
            base: memory.address_of(pages).ok_or(ERANGE)?,
            kind: Kind::CarveOut,
            carve_out: Some(memory),
            name: KVec::new(),
        };
        Ok(Arc::new(region, GFP_KERNEL)?)
    }

    /// The region of an image in a buffer of a test's.
    ///
    /// # Safety
    ///
    /// From `base` on there are `page_count` pages of the kernel's direct mapping, whose content
    /// nobody changes as long as the region exists.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(super) unsafe fn in_buffer(
        base: NonNull<u8>,
        page_count: usize,
        image: core::ops::Range<usize>,
    ) -> Result<Arc<Self>> {
        // SAFETY: Only arithmetic; the address is one of the direct mapping.
        let start = unsafe { bindings::erodax_virt_to_phys(base.as_ptr().cast()) };
        let image = Range::new(start + image.start as u64, image.len() as u64);
        // INVARIANT: The tests' images lie so in their buffers; the rest by the caller's promise.
        let region = Self {
            image: image.map_err(|_| EINVAL)?,
            first_pfn: usize::try_from(start >> PAGE_SHIFT)?,
            page_count,
            base,
            kind: Kind::RetainedInitrd,
            carve_out: None,
            name: KVec::new(),
        };
        Ok(Arc::new(region, GFP_KERNEL)?)
    }

    /// Physical bytes of the image.
    pub(super) fn image(&self) -> Range {
        self.image
    }

    /// What kind of memory it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Which pages the hardware has lost, where that is known: in a carve-out.
    pub(super) fn losses(&self) -> Option<&Losses> {
        self.carve_out.as_ref().map(|memory| memory.losses())
    }

    /// How many of the `len` bytes from `offset` on can be had before a page that is lost.
    #[inline(always)]
    pub(super) fn intact_len(&self, offset: u64, len: u64) -> u64 {
        match losses::are_any() {
            true => self.len_before_loss(offset, len),
            false => len,
        }
    }

    #[cold]
    fn len_before_loss(&self, offset: u64, len: u64) -> u64 {
        let Some(losses) = self.losses() else {
            return len;
        };
        let page = PAGE_SIZE as u64;
        let start = self.image.address.saturating_add(offset);
        let frames = start / page..start.saturating_add(len).div_ceil(page);
        // Page frames of any address fit.
        let lost = losses
            .hold()
            .first_in(frames.start as usize..frames.end as usize);
        lost.map_or(len, |lost| {
            ((lost as u64) << PAGE_SHIFT).saturating_sub(start).min(len)
        })
    }

    /// Name of the initrd member that holds the image; empty for a region given by address.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Offset of the image's first byte in its first page.
    pub(super) fn offset_in_page(&self) -> usize {
        // Less than a page, so nothing is cut off.
        (self.image.address & (PAGE_SIZE as u64 - 1)) as usize
    }

    /// Address, pfn and number of the pages that hold the image, the first being `index`.
    pub(super) fn pages_from(&self, index: usize) -> Option<(NonNull<u8>, usize, usize)> {
        let left = self
            .page_count
            .checked_sub(index)
            .filter(|&left| left > 0)?;
        // SAFETY: `index` is less than `page_count`: inside the mapping of invariant 2.
        let address = unsafe { self.base.add(index << PAGE_SHIFT) };
        Some((address, self.first_pfn + index, left))
    }

    /// The page that holds exactly the image's bytes from `offset` to `offset` + a page; see
    /// [`Self::pfn_at`].
    pub(crate) fn page_at(&self, offset: u64) -> Option<BorrowedPage<'_>> {
        let pfn = self.pfn_at(offset, 1)?;
        // SAFETY: Inside the region, so that by invariant 2 there is a `struct page`.
        let page = unsafe { bindings::erodax_pfn_to_page(pfn) };
        // SAFETY: By invariant 2 the page is held as long as the region is.
        Some(unsafe { BorrowedPage::from_raw(NonNull::new(page)?) })
    }

    /// The first of `count` pages that hold exactly the image's bytes from `offset` on.
    ///
    /// None if these bytes are no whole pages of memory: where the image is not aligned to
    /// pages, or at its end, where the rest of the page is not the image's.
    pub(super) fn pfn_at(&self, offset: u64, count: u64) -> Option<usize> {
        let page_size = PAGE_SIZE as u64;
        let address = self.image.address.checked_add(offset)?;
        let end = offset.checked_add(count.checked_mul(page_size)?)?;
        if address % page_size != 0 || end > self.image.size {
            return None;
        }
        usize::try_from(address >> PAGE_SHIFT).ok()
    }
}

/// Whether any of some pages are System RAM.
enum Share {
    None,
    Some,
}

fn ram_share(pages: Range) -> Share {
    let (flags, any) = (bindings::IORESOURCE_SYSTEM_RAM, bindings::IORES_DESC_NONE);
    // SAFETY: Takes any range; only walks the resource tree.
    let answer = unsafe {
        bindings::region_intersects(
            pages.address,
            pages.size as usize,
            flags as usize,
            any as usize,
        )
    };
    if answer == bindings::REGION_DISJOINT as i32 {
        Share::None
    } else {
        Share::Some
    }
}

/// The whole pages that hold `range`.
fn padded(range: Range) -> Result<Range> {
    range.padded(PAGE_SIZE as u64).map_err(|error| {
        pr_err!("{}\n", error.advice());
        ERANGE
    })
}
