// SPDX-License-Identifier: GPL-2.0

//! Pages of our own.

use core::slice;
use kernel::{
    alloc::flags::__GFP_ZERO,
    page::{Page, PAGE_SIZE},
    prelude::*,
};

/// A new page, zero where `fill` writes nothing.
pub(crate) fn new_page(fill: impl FnOnce(&mut [u8]) -> Result) -> Result<Page> {
    let page = Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?;
    // SAFETY: Pages of GFP_KERNEL are in lowmem and thus always mapped.
    let address = unsafe { crate::bindings::erodax_page_address(page.as_ptr()) };
    // SAFETY: A whole page that nobody else knows of yet.
    fill(unsafe { slice::from_raw_parts_mut(address.cast::<u8>(), PAGE_SIZE) })?;
    Ok(page)
}
