// SPDX-License-Identifier: GPL-2.0

//! Which file has which pages of a device, where `fs/dax.c` maps them.
//!
//! It takes a page for one file's only. Flat files do not share blocks in images that
//! mkfs.erofs makes, but nothing in the format keeps them from it: who comes second gets copies.

use core::ops::Range;
use kernel::{new_mutex, prelude::*, rbtree::RBTree, sync::Mutex};

/// Disjoint ranges of pages: by their ends, their starts and the files' nids.
type Ranges = RBTree<u64, (u64, u64)>;

/// The claims of a mount's files. They stay until it is unmounted, as an inode can come back.
pub(super) struct Claims(Pin<KBox<Mutex<Ranges>>>);

impl Claims {
    /// No claims.
    pub(super) fn new() -> Result<Self> {
        let none = new_mutex!(Ranges::new(), "erodax_claims");
        Ok(Self(KBox::pin_init(none, GFP_KERNEL)?))
    }

    /// Claims pages, which are some, for a file; whether they are the file's now, or were.
    pub(super) fn claim(&self, nid: u64, pages: Range<u64>) -> Result<bool> {
        let mut taken = self.0.lock();
        // The first claim that ends after the start.
        if let Some(found) = taken.cursor_lower_bound(&pages.start.saturating_add(1)) {
            let (_, (start, owner)) = found.current();
            if *start < pages.end {
                return Ok(*owner == nid);
            }
        }
        taken.try_create_and_insert(pages.end, (pages.start, nid), GFP_KERNEL)?;
        Ok(true)
    }
}
