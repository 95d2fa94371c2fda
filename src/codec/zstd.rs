// SPDX-License-Identifier: GPL-2.0

//! Zstandard by `lib/zstd`.

use super::Damaged;
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A decoder for streams, as it can stop where the output ends.
///
/// # Invariants
///
/// `stream` lies in `workspace`, of whose size the library was told, and only this value uses it.
pub(super) struct Decoder {
    stream: NonNull<bindings::zstd_dstream>,
    _workspace: KVVec<u64>,
}

// SAFETY: The stream is memory that whoever has the value may use, on any CPU.
unsafe impl Send for Decoder {}

impl Decoder {
    /// `window` is the largest window of the image's frames, in bytes.
    pub(super) fn new(window: u32) -> Result<Self> {
        let window = usize::try_from(window)?;
        // SAFETY: Tells a number.
        let size = unsafe { bindings::zstd_dstream_workspace_bound(window) };
        let words = size.div_ceil(size_of::<u64>());
        let mut workspace = KVVec::from_elem(0_u64, words, GFP_KERNEL)?;
        // SAFETY: The workspace has that size, and stays where it is as long as the stream.
        let stream =
            unsafe { bindings::zstd_init_dstream(window, workspace.as_mut_ptr().cast(), size) };
        // INVARIANT: The library has made it there.
        Ok(Self {
            stream: NonNull::new(stream).ok_or(EINVAL)?,
            _workspace: workspace,
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
        let mut from = bindings::zstd_in_buffer {
            src: input.as_ptr().cast(),
            size: len,
            pos: 0,
        };
        let mut to = bindings::zstd_out_buffer {
            dst: output.as_mut_ptr().cast(),
            size: output.len(),
            pos: 0,
        };
        // SAFETY: The stream is valid by the invariant.
        unsafe { bindings::zstd_reset_dstream(self.stream.as_ptr()) };
        while to.pos < to.size {
            let before = (from.pos, to.pos);
            // SAFETY: As above. The input is readable by the caller's promise; the library keeps
            // to the sizes, whatever it reads.
            let is_error = unsafe {
                let answer =
                    bindings::zstd_decompress_stream(self.stream.as_ptr(), &mut to, &mut from);
                bindings::zstd_is_error(answer) != 0
            };
            if is_error || (from.pos, to.pos) == before {
                return Err(Damaged);
            }
        }
        Ok(())
    }
}
