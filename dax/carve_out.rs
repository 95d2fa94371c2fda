// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel was told not to use (`memmap=SIZE$ADDRESS`).
//!
//! It has no `struct page` until `memremap_pages` makes them. They come in compound pages of
//! 2 MiB, which programs can map as a whole, and rest at one reference.

use super::{
    losses::{self, Losses},
    param::{Range, Ranges},
};
use crate::bindings;
use core::ptr::{self, NonNull};
use kernel::{
    error::from_err_ptr,
    fmt,
    page::{PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    str::CStrExt,
    sync::Arc,
    types::Opaque,
};

/// Bytes that one entry of a page middle directory maps, and that memory can be added by.
pub(super) const BLOCK: u64 = 2 << 20;

/// Order of a compound page of that size.
const BLOCK_ORDER: usize = BLOCK.trailing_zeros() as usize - PAGE_SHIFT;

/// Claimed memory with its pages.
///
/// The fields are dropped in this order: pages, then the claim.
pub(super) struct CarveOut {
    pages: Pages,
    _claim: Claim,
}

impl CarveOut {
    fn new(blocks: Range) -> Result<Arc<Self>> {
        let claim = Claim::new(blocks)?;
        Ok(Arc::new(
            Self {
                pages: Pages::new(blocks)?,
                _claim: claim,
            },
            GFP_KERNEL,
        )?)
    }

    /// Which of its pages the hardware has lost.
    pub(super) fn losses(&self) -> &Losses {
        &self.pages.losses
    }

    /// Kernel address of physical memory in it.
    pub(super) fn address_of(&self, range: Range) -> Option<NonNull<u8>> {
        if !self.pages.blocks.contains(range) {
            return None;
        }
        let distance = usize::try_from(range.address - self.pages.blocks.address).ok()?;
        // SAFETY: Inside the mapping, as was just checked.
        Some(unsafe { self.pages.base.add(distance) })
    }
}

/// The carve-outs that one load of the module asks for: images that share a block share one.
pub(super) struct CarveOuts<'a> {
    asked: Ranges<'a>,
    claimed: KVec<Arc<CarveOut>>,
}

impl<'a> CarveOuts<'a> {
    /// `asked` is all that is asked for, other kinds of memory included.
    pub(super) fn new(asked: Ranges<'a>) -> Self {
        Self {
            asked,
            claimed: KVec::new(),
        }
    }

    /// The carve-out around an image, claimed if none is yet.
    pub(super) fn around(&mut self, image: Range) -> Result<Arc<CarveOut>> {
        let known = self.claimed.iter();
        if let Some(known) = known.into_iter().find(|c| c.address_of(image).is_some()) {
            return Ok(known.clone());
        }
        let blocks = self.blocks_of(image)?;
        if !is_reserved(image) {
            pr_err!(
                "region {} is beyond memory, or not kept aside: reserve it with \
                 memmap=SIZE$ADDRESS on the kernel command line\n",
                image
            );
            return Err(ERANGE);
        }
        if !is_reserved(blocks) {
            pr_err!(
                "region {}: its pages can only be made in blocks of 2M, {}, of which some is not \
                 reserved: give memmap= an address and a size that are multiples of 2M\n",
                image,
                blocks
            );
            return Err(EINVAL);
        }
        let new = CarveOut::new(blocks).inspect_err(|error| {
            let reason = match *error {
                EBUSY => "another driver uses it, see /proc/iomem",
                ENOMEM => "no memory for its pages",
                _ => "the kernel cannot map it",
            };
            pr_err!("region {}: {} (memory {})\n", image, reason, blocks);
        })?;
        self.claimed.push(new.clone(), GFP_KERNEL)?;
        Ok(new)
    }

    /// The blocks that hold an image and every other that begins or ends in one of them.
    fn blocks_of(&self, image: Range) -> Result<Range> {
        let mut blocks = whole_blocks(image)?;
        loop {
            let before = blocks;
            for other in self.asked {
                let other = whole_blocks(other)?;
                if other.overlaps(blocks) {
                    blocks = blocks.joined(other);
                }
            }
            if blocks == before {
                return Ok(blocks);
            }
        }
    }
}

fn whole_blocks(range: Range) -> Result<Range> {
    range.padded(BLOCK).map_err(|error| {
        pr_err!("{}\n", error.advice());
        ERANGE
    })
}

/// Whether all of it is reserved in the map of memory that the kernel has from the firmware and
/// `memmap=`.
fn is_reserved(range: Range) -> bool {
    let mut at = range.address;
    while at < range.end() {
        // A range that is partly nothing at all would be taken for reserved.
        let size = (BLOCK - at % BLOCK).min(range.end() - at);
        // SAFETY: Takes any range; only walks the resource tree.
        let answer = unsafe {
            bindings::region_intersects(
                at,
                size as usize,
                bindings::IORESOURCE_MEM as usize,
                bindings::IORES_DESC_RESERVED as usize,
            )
        };
        if answer != bindings::REGION_INTERSECTS as c_int {
            return false;
        }
        at += size;
    }
    true
}

/// Physical memory that /proc/iomem shows as ours.
///
/// # Invariants
///
/// The range is a busy resource of ours.
struct Claim(Range);

impl Claim {
    fn new(range: Range) -> Result<Self> {
        let name = c"erodax".as_char_ptr();
        // SAFETY: Takes any range; the name is static, and the module gives the resource up
        // before it goes.
        let resource = unsafe {
            let all = &raw mut bindings::iomem_resource;
            bindings::__request_region(all, range.address, range.size, name, 0)
        };
        if resource.is_null() {
            return Err(EBUSY);
        }
        // INVARIANT: It was just made.
        Ok(Self(range))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: By the invariant there is such a resource.
        unsafe {
            let all = &raw mut bindings::iomem_resource;
            bindings::__release_region(all, self.0.address, self.0.size);
        }
    }
}

/// The pages of claimed memory.
///
/// # Invariants
///
/// `map` was given to `memremap_pages`, which has mapped `blocks` at `base`, and stays where it
/// is. Each of the blocks is one compound page. The map's owner is `losses`.
struct Pages {
    map: KBox<Opaque<bindings::dev_pagemap>>,
    losses: Pin<KBox<Losses>>,
    base: NonNull<u8>,
    blocks: Range,
}

// SAFETY: The memory is there for every CPU; the map belongs to the kernel.
unsafe impl Send for Pages {}
// SAFETY: As above.
unsafe impl Sync for Pages {}

impl Pages {
    /// The memory must be claimed, so that nobody else has made pages of it.
    fn new(blocks: Range) -> Result<Self> {
        let losses = KBox::pin_init(Losses::new(), GFP_KERNEL)?;
        let mut map = bindings::dev_pagemap {
            type_: bindings::memory_type_MEMORY_DEVICE_GENERIC,
            vmemmap_shift: BLOCK_ORDER,
            nr_range: 1,
            ops: &losses::OPERATIONS,
            owner: ptr::from_ref::<Losses>(&losses).cast_mut().cast(),
            ..Default::default()
        };
        // SAFETY: The map is for one range, which this member of the union is.
        let range = unsafe { map.__bindgen_anon_1.range.as_mut() };
        (range.start, range.end) = (blocks.address, blocks.end() - 1);
        let map = KBox::new(Opaque::new(map), GFP_KERNEL)?;
        // SAFETY: The map is filled in and stays in its box. The range is whole blocks, of
        // which none is System RAM: the function leaves what it holds as it is.
        let base = unsafe { bindings::memremap_pages(map.get(), bindings::NUMA_NO_NODE) };
        let base = from_err_ptr(base)?;
        // INVARIANT: It succeeded. With a shift of 2 MiB it makes one compound page of each.
        Ok(Self {
            map,
            losses,
            base: NonNull::new(base.cast()).ok_or(EFAULT)?,
            blocks,
        })
    }

    /// Whether somebody has a reference to a page still.
    fn is_used(&self) -> bool {
        let pages = (BLOCK / PAGE_SIZE as u64) as usize;
        let (first, last) = (self.blocks.address, self.blocks.end() - 1);
        (first as usize >> PAGE_SHIFT..=last as usize >> PAGE_SHIFT)
            .step_by(pages)
            // SAFETY: By the invariant there is a page at each block's beginning.
            .any(|pfn| unsafe { bindings::erodax_page_refs(bindings::erodax_pfn_to_page(pfn)) > 1 })
    }
}

impl Drop for Pages {
    /// Waits for programs that hold pages without a mapping: long-term pins, pages in pipes.
    /// `memunmap_pages` does not, with pages of this type, and takes their structs away.
    fn drop(&mut self) {
        let mut is_logged = false;
        while self.is_used() {
            if !is_logged {
                pr_info!("waiting for programs that hold pages of {}\n", self.blocks);
                is_logged = true;
            }
            // SAFETY: The module's exit, or a load that fails: both may sleep.
            unsafe { bindings::msleep(100) };
        }
        // SAFETY: By the invariant it is mapped; nobody has a page, nor, as this is the last
        // owner, can get one.
        unsafe { bindings::memunmap_pages(self.map.get()) };
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x},{:#x}", self.address, self.size)
    }
}
