// SPDX-License-Identifier: GPL-2.0

//! Decompression of one pcluster: LZ4 by the vendored `lz4_flex`, everything else by the
//! libraries of the kernel.
//!
//! Input is memory that others may change meanwhile, and so never a slice: the decoders read it
//! through pointers, and whatever they read there, they stay inside input and output.

#[cfg(CONFIG_ZLIB_INFLATE)]
mod deflate;
#[cfg(CONFIG_XZ_DEC_MICROLZMA)]
mod lzma;
mod pool;
#[cfg(CONFIG_ZSTD_DECOMPRESS)]
mod zstd;

pub(crate) use pool::Pool;

use crate::bindings;
use core::ptr::NonNull;
use erodax_format::{pcluster::Algorithm, Algorithms};
use kernel::prelude::*;

/// The state of the decoders that an image needs.
pub(crate) struct Decoders {
    #[cfg(CONFIG_XZ_DEC_MICROLZMA)]
    lzma: Option<lzma::Decoder>,
    #[cfg(CONFIG_ZLIB_INFLATE)]
    deflate: Option<deflate::Decoder>,
    #[cfg(CONFIG_ZSTD_DECOMPRESS)]
    zstd: Option<zstd::Decoder>,
}

impl Decoders {
    /// Decoders for these algorithms, which all must be there (see [`missing`]).
    fn new(algorithms: &Algorithms) -> Result<Self> {
        Ok(Self {
            #[cfg(CONFIG_XZ_DEC_MICROLZMA)]
            lzma: when(algorithms, Algorithm::Lzma, || {
                lzma::Decoder::new(algorithms.lzma_dictionary())
            })?,
            #[cfg(CONFIG_ZLIB_INFLATE)]
            deflate: when(algorithms, Algorithm::Deflate, deflate::Decoder::new)?,
            #[cfg(CONFIG_ZSTD_DECOMPRESS)]
            zstd: when(algorithms, Algorithm::Zstd, || {
                zstd::Decoder::new(algorithms.zstd_window())
            })?,
        })
    }

    /// The same for a slice.
    pub(crate) fn decode_slice(
        &mut self,
        algorithm: Algorithm,
        input: &[u8],
        padding: usize,
        output: &mut [u8],
        is_whole: bool,
    ) -> Result<(), Damaged> {
        let start = NonNull::from(input).cast();
        // SAFETY: Slices are readable, and a mutable one is no part of another.
        unsafe { self.decode(algorithm, start, input.len(), padding, output, is_whole) }
    }

    /// Fills `output` with the first bytes that `input_len` bytes decode to: with all of them if
    /// `is_whole`. Zeros before the compressed stream, `padding` of them at most, are skipped.
    ///
    /// Fails if there are not so many, and where the decoder sees that the input is damaged; what
    /// is in `output` then is arbitrary.
    ///
    /// # Safety
    ///
    /// `input_len` bytes from `input` on must be readable, and not be part of `output`.
    pub(crate) unsafe fn decode(
        &mut self,
        algorithm: Algorithm,
        input: NonNull<u8>,
        input_len: usize,
        padding: usize,
        output: &mut [u8],
        is_whole: bool,
    ) -> Result<(), Damaged> {
        // SAFETY: By the caller's promise.
        let (input, input_len) = unsafe { skip_zeros(input, input_len, padding) }?;
        // SAFETY: By the caller's promise, what is left of the input is readable too.
        unsafe {
            match algorithm {
                Algorithm::Lz4 => lz4(input, input_len, output),
                #[cfg(CONFIG_XZ_DEC_MICROLZMA)]
                Algorithm::Lzma => match &mut self.lzma {
                    Some(decoder) => decoder.decode(input, input_len, output, is_whole),
                    None => Err(Damaged),
                },
                #[cfg(CONFIG_ZLIB_INFLATE)]
                Algorithm::Deflate => match &mut self.deflate {
                    Some(decoder) => decoder.decode(input, input_len, output),
                    None => Err(Damaged),
                },
                #[cfg(CONFIG_ZSTD_DECOMPRESS)]
                Algorithm::Zstd => match &mut self.zstd {
                    Some(decoder) => decoder.decode(input, input_len, output),
                    None => Err(Damaged),
                },
                #[expect(
                    unreachable_patterns,
                    reason = "unless a library is missing in the kernel"
                )]
                _ => Err(Damaged),
            }
        }
    }
}

/// The input does not decode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damaged;

/// The option of the kernel's configuration that an image needs, if this kernel lacks one.
pub(crate) fn missing(algorithms: &Algorithms) -> Option<&'static str> {
    let libraries = [
        (
            Algorithm::Lzma,
            cfg!(CONFIG_XZ_DEC_MICROLZMA),
            "CONFIG_XZ_DEC_MICROLZMA",
        ),
        (
            Algorithm::Deflate,
            cfg!(CONFIG_ZLIB_INFLATE),
            "CONFIG_ZLIB_INFLATE",
        ),
        (
            Algorithm::Zstd,
            cfg!(CONFIG_ZSTD_DECOMPRESS),
            "CONFIG_ZSTD_DECOMPRESS",
        ),
    ];
    let missing = libraries
        .iter()
        .find(|(algorithm, is_there, _)| !is_there && algorithms.contains(*algorithm));
    missing.map(|(_, _, option)| *option)
}

/// A decoder if the image needs it.
fn when<D>(
    algorithms: &Algorithms,
    algorithm: Algorithm,
    new: impl FnOnce() -> Result<D>,
) -> Result<Option<D>> {
    match algorithms.contains(algorithm) {
        true => new().map(Some),
        false => Ok(None),
    }
}

/// The input without the zeros that fill its first block up, as EROFS has the end of a pcluster
/// at the end of a block.
///
/// # Safety
///
/// `len` bytes from `input` on must be readable.
unsafe fn skip_zeros(
    input: NonNull<u8>,
    len: usize,
    padding: usize,
) -> Result<(NonNull<u8>, usize), Damaged> {
    // SAFETY: Not more bytes than are readable by the caller's promise.
    let first = unsafe { bindings::memchr_inv(input.as_ptr().cast(), 0, len.min(padding)) };
    let first = NonNull::new(first.cast::<u8>()).ok_or(Damaged)?;
    // No byte of the input is before its start.
    let skipped = first.as_ptr() as usize - input.as_ptr() as usize;
    Ok((first, len - skipped))
}

/// Decodes an LZ4 block.
///
/// # Safety
///
/// `len` bytes from `input` on must be readable, and not be part of `output`.
unsafe fn lz4(input: NonNull<u8>, len: usize, output: &mut [u8]) -> Result<(), Damaged> {
    let (start, room) = (output.as_mut_ptr(), output.len());
    // SAFETY: By the caller's promise; `output` is ours alone.
    let written =
        unsafe { lz4_flex::block::decompress_partial_raw(input.as_ptr(), len, start, room) };
    match written {
        Ok(written) if written == room => Ok(()),
        _ => Err(Damaged),
    }
}
