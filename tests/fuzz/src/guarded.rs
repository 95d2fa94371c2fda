// SPDX-License-Identifier: GPL-2.0

//! Memory with a page on each side that nobody can touch: who reads or writes a byte too much is
//! stopped at once.

use lz4_flex::block::decompress_into_partial;
use rustix::mm::{mmap_anonymous, mprotect, munmap, MapFlags, MprotectFlags, ProtFlags};
use std::{ptr, slice};

const PAGE: usize = 4096;

/// At which of the two pages the bytes are.
#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

/// Bytes between two pages without access.
struct Guarded {
    mapping: *mut u8,
    /// Bytes of the mapping, both pages included.
    size: usize,
    offset: usize,
    len: usize,
}

impl Guarded {
    /// `len` zeros, which touch the page on one side.
    fn new(len: usize, side: Side) -> Self {
        let inner = len.next_multiple_of(PAGE);
        let size = inner + 2 * PAGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: A new mapping, where the kernel wants it.
        let mapping = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) };
        let mapping = mapping.expect("memory").cast::<u8>();
        for guard in [0, size - PAGE] {
            // SAFETY: A page of this mapping, which nothing refers to yet.
            unsafe { mprotect(mapping.add(guard).cast(), PAGE, MprotectFlags::empty()) }
                .expect("a page without access");
        }
        let offset = match side {
            Side::Front => PAGE,
            Side::Back => PAGE + inner - len,
        };
        Guarded {
            mapping,
            size,
            offset,
            len,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: So many bytes between the two pages; the borrow of `self` is theirs.
        unsafe { slice::from_raw_parts_mut(self.mapping.add(self.offset), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: The whole mapping, whose bytes nobody borrows any more.
        unsafe { munmap(self.mapping.cast(), self.size) }.expect("mapped until now");
    }
}

/// The first `len` bytes of an LZ4 block, fewer if it has no more; `None` if it is damaged before.
///
/// # Panics
///
/// The result depends on where input and output are.
pub fn decode_lz4(block: &[u8], len: usize) -> Option<Vec<u8>> {
    let [front, back] = [Side::Front, Side::Back].map(|side| {
        let mut input = Guarded::new(block.len(), side);
        input.bytes().copy_from_slice(block);
        let mut output = Guarded::new(len, side);
        let written = decompress_into_partial(input.bytes(), output.bytes()).ok()?;
        Some(output.bytes()[..written].to_vec())
    });
    assert!(front == back);
    front
}
