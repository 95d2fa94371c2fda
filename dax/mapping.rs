// SPDX-License-Identifier: GPL-2.0

//! Which pages of a region a page fault maps.
//!
//! Pages of the retained initrd are ordinary pages with a `struct page`: they are inserted
//! one by one, with a reference each, so that get_user_pages, ptrace and core dumps work.

use super::region::Region;
use crate::vfs::{position_of, Fault, Outcome};
use kernel::page::{BorrowedPage, PAGE_SIZE};

/// Pages that one fault maps at most, as the page cache's fault-around does (64 KiB).
const WINDOW: usize = 16;

/// Bytes of a file that lie in one piece in a region.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// First byte in the file.
    pub(crate) position: u64,
    /// First byte in the region's image.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) len: u64,
}

impl Run {
    /// Page `index` of the file, if it is a page of the region as it lies.
    pub(super) fn page(self, region: &Region, index: u64) -> Option<BorrowedPage<'_>> {
        region.page_at(self.offset_of(index)?)
    }

    /// Where page `index` of the file begins in the image, if all of the page is in the run.
    pub(super) fn offset_of(&self, index: u64) -> Option<u64> {
        let position = position_of(index)?;
        let inside = position.checked_sub(self.position)?;
        if inside.checked_add(PAGE_SIZE as u64)? > self.len {
            return None;
        }
        self.offset.checked_add(inside)
    }
}

/// Maps the page that is wanted and the pages of the run around it.
///
/// None if the wanted page cannot be mapped from the region as it lies there.
pub(crate) fn map_window(fault: &mut Fault<'_>, region: &Region, run: Run) -> Option<Outcome> {
    let wanted = fault.index();
    let page = run.page(region, wanted)?;
    let outcome = fault.resolve(&page);
    if fault.is_copy() || outcome != Outcome::MAPPED {
        return Some(outcome);
    }
    for index in fault.window(WINDOW) {
        if index == wanted {
            continue;
        }
        // The neighbours are a courtesy: whatever stops them, the fault is answered.
        let Some(page) = run.page(region, index) else {
            continue;
        };
        if fault.insert(index, &page) != Outcome::MAPPED {
            break;
        }
    }
    Some(outcome)
}
