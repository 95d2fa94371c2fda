// SPDX-License-Identifier: GPL-2.0

//! Which pages of a region a page fault maps.
//!
//! Pages of the retained initrd are ordinary pages with a `struct page`: they are inserted
//! with a reference each, so that get_user_pages, ptrace and core dumps work. So are those of a
//! carve-out, unless a whole compound page can be mapped; while that is done none can get lost.

use super::{
    losses::Losses,
    region::Region,
    window::{self, Place, Previous, LARGEST},
};
use crate::vfs::{position_of, Fault, Outcome};
use core::ops::Range;
use kernel::page::{BorrowedPage, PAGE_SIZE};

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

    /// The pages of the file that are in the run from end to end.
    fn pages(&self) -> Range<u64> {
        let page = PAGE_SIZE as u64;
        let end = self.position.saturating_add(self.len);
        self.position.div_ceil(page)..end / page
    }

    /// The page frames of these pages of the file, which must all be in the run.
    fn frames(self, region: &Region, pages: &Range<u64>) -> Option<Range<usize>> {
        let count = pages.end.saturating_sub(pages.start);
        let first = region.pfn_at(self.offset_of(pages.start)?, count)?;
        Some(first..first + usize::try_from(count).ok()?)
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

/// Maps the page that is wanted and pages of the run around it.
///
/// None if the wanted page cannot be mapped from the region as it lies there.
pub(crate) fn map_window(fault: &mut Fault<'_>, region: &Region, run: Run) -> Option<Outcome> {
    match region.losses() {
        Some(losses) => map_of_carve_out(fault, region, run, losses),
        None => map_of_initrd(fault, region, run),
    }
}

fn map_of_initrd(fault: &mut Fault<'_>, region: &Region, run: Run) -> Option<Outcome> {
    let page = run.page(region, fault.index())?;
    if fault.is_copy() || fault.is_watched() {
        return Some(fault.give(&page));
    }
    let pages = choose_window(fault, &run);
    let first = run.frames(region, &pages)?.start;
    // SAFETY: `frames` gives pages of the region only, which are held by its invariant, and
    // reserved; the window is inside the room. Nobody maps such pages by huge ones.
    Some(unsafe {
        match fault.is_locked() {
            true => fault.insert_counted(pages, first),
            false => fault.insert_reserved(pages, first),
        }
    })
}

fn map_of_carve_out(
    fault: &mut Fault<'_>,
    region: &Region,
    run: Run,
    losses: &Losses,
) -> Option<Outcome> {
    let index = fault.index();
    let (page, wanted) = (
        run.page(region, index)?,
        run.frames(region, &(index..index + 1))?.start,
    );
    let losses = losses.hold();
    if losses.first_in(wanted..wanted + 1).is_some() {
        return Some(Outcome::POISONED);
    }
    if fault.is_copy() {
        return Some(fault.give(&page));
    }
    let block = block_around(fault, region, &run);
    if let Some(block) = block.filter(|block| losses.first_in(block.clone()).is_none()) {
        // SAFETY: `block_around` gives a whole compound page of the region, which the mapping
        // shows; the region holds it by its invariant.
        let huge = unsafe { fault.insert_huge(block.start) };
        // A page table is there already: the MM puts all of the compound page into it, or, where
        // a copy is in it, the page.
        return Some(huge.unwrap_or_else(|| fault.give_locked(&page)));
    }
    if fault.is_marked() {
        // There is a page table, which userfaultfd watches: the MM maps this page alone.
        return Some(fault.give_locked(&page));
    }
    let chosen = choose_window(fault, &run);
    let frames = run.frames(region, &chosen)?;
    let intact = losses.intact_around(wanted, frames.clone());
    let cut = |from: usize, to: usize| (to - from) as u64;
    let pages =
        chosen.start + cut(frames.start, intact.start)..chosen.end - cut(intact.end, frames.end);
    // SAFETY: `frames` gives pages of the region only, which are held by its invariant; the window
    // is inside the room. Only blocks without a loss are mapped by huge pages: what was
    // mapped before the loss is not any more, as it is dealt with while nobody holds them.
    Some(unsafe { fault.insert_counted(pages, intact.start) })
}

/// The compound page of 2 MiB, if one fills the part of the mapping that the wanted page's page
/// table covers.
fn block_around(fault: &Fault<'_>, region: &Region, run: &Run) -> Option<Range<usize>> {
    let room = fault.room();
    let of_run = run.pages();
    if room.end - room.start < LARGEST || room.start < of_run.start || of_run.end < room.end {
        return None;
    }
    let block = run.frames(region, &room)?;
    (block.start as u64 % LARGEST == 0).then_some(block)
}

/// The window of pages of the run that this fault maps; the wanted one is in it, and in the run.
fn choose_window(fault: &Fault<'_>, run: &Run) -> Range<u64> {
    let room = fault.room();
    let of_run = run.pages();
    let place = Place {
        wanted: fault.index(),
        entry: fault.entry(),
        room: room.start.max(of_run.start)..room.end.min(of_run.end),
        in_order: fault.is_in_order(),
    };
    let (end, len) = fault.previous();
    let (pages, next) = window::choose(&place, Previous { end, len });
    fault.remember(next.end, next.len);
    pages
}
