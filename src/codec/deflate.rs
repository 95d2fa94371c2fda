// SPDX-License-Identifier: GPL-2.0

//! Raw DEFLATE by `lib/zlib_inflate`.

use super::Damaged;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{ffi::c_int, prelude::*};

/// Log2 of the window, 32 KiB, negative for streams without a header.
const WINDOW_BITS: c_int = -15;

/// The memory of a decoder, which is set up anew for each stream.
pub(super) struct Decoder {
    workspace: KVVec<u64>,
}

impl Decoder {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: Tells a number.
        let size = unsafe { bindings::zlib_inflate_workspacesize() };
        let words = usize::try_from(size)?.div_ceil(size_of::<u64>());
        Ok(Self {
            workspace: KVVec::from_elem(0, words, GFP_KERNEL)?,
        })
    }

    /// # Safety
    ///
    /// `len` bytes from `input` on must be readable, and not be part of `output`.
    pub(super) unsafe fn decode(
        &mut self,
        input: NonNull<u8>,
        len: usize,
        output: &mut [u8],
    ) -> Result<(), Damaged> {
        let mut stream = bindings::z_stream {
            next_in: input.as_ptr(),
            avail_in: len,
            next_out: output.as_mut_ptr(),
            avail_out: output.len(),
            workspace: self.workspace.as_mut_ptr().cast(),
            ..pin_init::zeroed()
        };
        // SAFETY: The stream is valid, with a workspace of the size that the library asked for.
        // The input is readable by the caller's promise; the library keeps to the sizes,
        // whatever it reads.
        let answer = unsafe {
            if bindings::zlib_inflateInit2(&mut stream, WINDOW_BITS) != bindings::Z_OK as c_int {
                return Err(Damaged);
            }
            bindings::zlib_inflate(&mut stream, bindings::Z_SYNC_FLUSH as c_int)
        };
        let is_good = [bindings::Z_OK, bindings::Z_STREAM_END].map(|code| code as c_int);
        match is_good.contains(&answer) && stream.avail_out == 0 {
            true => Ok(()),
            false => Err(Damaged),
        }
    }
}
