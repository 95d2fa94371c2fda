// SPDX-License-Identifier: GPL-2.0

//! splice(2) and sendfile(2) of files whose pages are memory of ours: the pages themselves go into
//! the pipe.

use super::{inode::InodeCell, super_block, FileSystem};
use crate::bindings;
use kernel::{error::from_result, ffi::c_uint, page::PAGE_SIZE, prelude::*};

/// Pages that go into the pipe at a time, as many as one has room for by default.
const BATCH: usize = bindings::PIPE_DEF_BUFFERS as usize;

/// `splice_read` of regular files that are mapped directly.
///
/// # Safety
///
/// Called by the VFS with an open file of `T`, a position, and a pipe that is locked.
pub(super) unsafe extern "C" fn read<T: FileSystem>(
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    pipe: *mut bindings::pipe_inode_info,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: By this function's own requirements.
    let (fs, data, start, size) = unsafe {
        let inode = (*file).f_inode;
        (
            super_block::instance::<T>((*inode).i_sb),
            InodeCell::<T>::data(inode),
            *position as u64,
            (*inode).i_size as u64,
        )
    };
    let mut pages = Batch::new();
    // What follows the file in its last page is no part of it.
    let (mut at, mut left) = (start, size.saturating_sub(start).min(len as u64) as usize);
    while left > 0 && !pages.is_full() {
        let within = (at % PAGE_SIZE as u64) as usize;
        let Some(page) = fs.page(data, at / PAGE_SIZE as u64) else {
            break;
        };
        let part = left.min(PAGE_SIZE - within);
        pages.push(&page, within, part);
        at += part as u64;
        left -= part;
    }
    if pages.is_empty() {
        // The end of the file, or bytes that are in no page of their own.
        // SAFETY: By this function's own requirements.
        return unsafe { bindings::copy_splice_read(file, position, pipe, len, flags) };
    }
    from_result(|| {
        // SAFETY: As above.
        let spliced = unsafe { pages.splice(pipe)? };
        // SAFETY: As above.
        unsafe { *position += spliced as bindings::loff_t };
        Ok(spliced)
    })
}

/// Pages on their way into a pipe, with a reference each.
struct Batch {
    pages: [*mut bindings::page; BATCH],
    parts: [bindings::partial_page; BATCH],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Self {
            pages: pin_init::zeroed(),
            parts: pin_init::zeroed(),
            len: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Adds `len` bytes at `offset` of a page; there must be room.
    fn push(&mut self, page: &kernel::page::Page, offset: usize, len: usize) {
        if let (Some(slot), Some(part)) =
            (self.pages.get_mut(self.len), self.parts.get_mut(self.len))
        {
            // SAFETY: The page is referenced; this is the pipe's own reference.
            unsafe { bindings::erodax_get_page(page.as_ptr()) };
            *slot = page.as_ptr();
            part.offset = offset as u32;
            part.len = len as u32;
            self.len += 1;
        }
    }

    /// Puts the pages into the pipe; returns the bytes in it.
    ///
    /// # Safety
    ///
    /// The pipe must be valid and locked.
    unsafe fn splice(mut self, pipe: *mut bindings::pipe_inode_info) -> Result<isize> {
        let mut request = bindings::splice_pipe_desc {
            pages: self.pages.as_mut_ptr(),
            partial: self.parts.as_mut_ptr(),
            nr_pages: self.len as i32,
            nr_pages_max: BATCH as u32,
            ops: &raw const bindings::nosteal_pipe_buf_ops,
            spd_release: Some(release),
        };
        // SAFETY: By the caller's promise. The pipe takes the references over, or `release`
        // drops those of the pages that it has no room for.
        let spliced = unsafe { bindings::splice_to_pipe(pipe, &mut request) };
        if spliced < 0 {
            return Err(Error::from_errno(spliced as i32));
        }
        Ok(spliced)
    }
}

/// # Safety
///
/// Called by `splice_to_pipe` with a page of the request that did not go into the pipe.
unsafe extern "C" fn release(request: *mut bindings::splice_pipe_desc, index: c_uint) {
    // SAFETY: By this function's own requirements; `push` took the reference.
    unsafe { bindings::erodax_put_page(*(*request).pages.add(index as usize)) };
}
