// SPDX-License-Identifier: GPL-2.0

//! KUnit: the arithmetic of regions, and a device over a test's own memory.

use super::{device::TestNode, region::Region};
use core::{ops::Range, ptr::NonNull};
use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};

/// Whole pages of the kernel's direct mapping with an image in them.
///
/// # Invariants
///
/// The buffer begins at a page and is never changed.
struct Buffer {
    bytes: KVec<u8>,
    image: Range<usize>,
}

impl Buffer {
    /// A buffer from `kmalloc` with `image` from byte `offset` on, and other bytes around it.
    fn new(image: &[u8], offset: usize) -> Result<Self> {
        // Where other memory shows through, there are bytes that no test expects.
        const ELSE: u8 = 0xa5;
        let end = offset + image.len();
        let size = end.next_multiple_of(PAGE_SIZE).next_power_of_two();
        let mut bytes = KVec::with_capacity(size, GFP_KERNEL)?;
        bytes.resize(size, ELSE, GFP_KERNEL)?;
        bytes[offset..end].copy_from_slice(image);
        // Sizes that are powers of two are aligned to themselves.
        if bytes.as_ptr().addr() % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        // INVARIANT: It begins at a page, and nothing here changes it.
        Ok(Self {
            bytes,
            image: offset..end,
        })
    }

    /// The image as a region.
    ///
    /// # Safety
    ///
    /// The buffer must outlive the region.
    unsafe fn region(&self) -> Result<Arc<Region>> {
        let base = NonNull::from(self.bytes.as_slice()).cast();
        let page_count = (self.image.end - 1) / PAGE_SIZE + 1;
        // SAFETY: Memory from `kmalloc` is in the direct mapping; the rest by the invariant and
        // by the caller's promise.
        unsafe { Region::in_buffer(base, page_count, self.image.clone()) }
    }
}

/// A device over an image in a test's memory.
///
/// The fields are dropped in this order: the device, then its memory.
pub(crate) struct TestDevice {
    _device: TestNode,
    _buffer: Buffer,
}

impl TestDevice {
    /// Its node, by the minor number of [`TestNode`].
    pub(crate) const PATH: &'static CStr = c"/dev/erodax1048575";

    /// A device whose image begins `offset` bytes into its first page.
    pub(crate) fn new(image: &[u8], offset: usize) -> Result<Self> {
        let buffer = Buffer::new(image, offset)?;
        // SAFETY: The device, which has the region, is dropped before the buffer. Nothing is
        // mounted then: tests unmount what they mount.
        let region = unsafe { buffer.region()? };
        Ok(Self {
            _device: TestNode::new(region)?,
            _buffer: buffer,
        })
    }
}

#[kunit_tests(erodax_regions)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE as u64;

    /// A region of three pages and `rest` bytes that begins `offset` bytes into a page.
    fn with_region(
        offset: usize,
        rest: usize,
        check: impl FnOnce(&Region, &Buffer) -> Result,
    ) -> Result {
        let image = KVec::from_elem(7, 3 * PAGE_SIZE + rest, GFP_KERNEL)?;
        let buffer = Buffer::new(&image, offset)?;
        // SAFETY: It ends with this function.
        let region = unsafe { buffer.region()? };
        check(&region, &buffer)
    }

    #[test]
    fn an_aligned_image_has_its_own_pages() -> Result {
        with_region(0, 0, |region, buffer| {
            let (first, pfn, count) = region.pages_from(0).ok_or(EINVAL)?;
            assert_eq!(region.offset_in_page(), 0);
            assert_eq!(count, 3);
            assert_eq!(first.as_ptr().cast_const(), buffer.bytes.as_ptr());
            assert_eq!(region.pfn_at(0, 3), Some(pfn));
            assert_eq!(region.pfn_at(2 * PAGE, 1), Some(pfn + 2));
            Ok(())
        })
    }

    #[test]
    fn pages_beyond_the_image_are_refused() -> Result {
        with_region(0, 0, |region, _| {
            assert!(region.pages_from(3).is_none());
            assert!(region.pages_from(usize::MAX).is_none());
            assert_eq!(region.pfn_at(0, 4), None);
            assert_eq!(region.pfn_at(3 * PAGE, 1), None);
            assert_eq!(region.pfn_at(u64::MAX, 1), None);
            assert_eq!(region.pfn_at(PAGE, u64::MAX), None);
            Ok(())
        })
    }

    #[test]
    fn the_rest_of_the_last_page_is_not_the_images() -> Result {
        with_region(0, 1, |region, _| {
            assert_eq!(region.pages_from(0).map(|(_, _, count)| count), Some(4));
            assert!(region.pfn_at(2 * PAGE, 1).is_some());
            assert_eq!(region.pfn_at(3 * PAGE, 1), None);
            Ok(())
        })
    }

    #[test]
    fn an_unaligned_image_shares_its_first_and_last_page() -> Result {
        with_region(1536, 0, |region, _| {
            assert_eq!(region.offset_in_page(), 1536);
            assert_eq!(region.pages_from(0).map(|(_, _, count)| count), Some(4));
            assert_eq!(region.pfn_at(0, 1), None);
            assert_eq!(region.pfn_at(PAGE, 1), None);
            // A whole page of memory, though not a block of the image.
            assert!(region.pfn_at(PAGE - 1536, 1).is_some());
            Ok(())
        })
    }
}
