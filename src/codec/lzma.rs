// SPDX-License-Identifier: GPL-2.0

//! MicroLZMA by `lib/xz`.

use super::Damaged;
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A decoder that finds its dictionary in the output, and so has none of its own.
///
/// # Invariants
///
/// The pointer is a decoder of `lib/xz` that only this value uses.
pub(super) struct Decoder(NonNull<bindings::xz_dec_microlzma>);

// SAFETY: The decoder is memory that whoever has the value may use, on any CPU.
unsafe impl Send for Decoder {}

impl Decoder {
    /// `dictionary` is how far back in the output a match can be, in bytes; it takes no memory.
    pub(super) fn new(dictionary: u32) -> Result<Self> {
        // SAFETY: May sleep, as all callers may.
        let decoder =
            unsafe { bindings::xz_dec_microlzma_alloc(bindings::xz_mode_XZ_SINGLE, dictionary) };
        // INVARIANT: It is new.
        NonNull::new(decoder).map(Self).ok_or(ENOMEM)
    }

    /// # Safety
    ///
    /// `len` bytes from `input` on must be readable, and not be part of `output`.
    pub(super) unsafe fn decode(
        &mut self,
        input: NonNull<u8>,
        len: usize,
        output: &mut [u8],
        is_whole: bool,
    ) -> Result<(), Damaged> {
        let (Ok(from), Ok(to)) = (u32::try_from(len), u32::try_from(output.len())) else {
            return Err(Damaged);
        };
        let mut buffers = bindings::xz_buf {
            in_: input.as_ptr(),
            in_pos: 0,
            in_size: len,
            out: output.as_mut_ptr(),
            out_pos: 0,
            out_size: output.len(),
        };
        // SAFETY: The decoder is valid by the invariant. The input is readable by the caller's
        // promise; the library keeps to the sizes, whatever it reads.
        let answer = unsafe {
            bindings::xz_dec_microlzma_reset(self.0.as_ptr(), from, to, is_whole.into());
            bindings::xz_dec_microlzma_run(self.0.as_ptr(), &mut buffers)
        };
        let is_good = [bindings::xz_ret_XZ_OK, bindings::xz_ret_XZ_STREAM_END].contains(&answer);
        match is_good && buffers.out_pos == output.len() {
            true => Ok(()),
            false => Err(Damaged),
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: Ours by the invariant; the last use.
        unsafe { bindings::xz_dec_microlzma_end(self.0.as_ptr()) };
    }
}
