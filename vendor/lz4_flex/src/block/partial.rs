//! Decompression of as much as fits into the output: a local addition, see CHANGES.md.
//!
//! Both loops keep these facts between two sequences, which is what each `SAFETY` comment stands on:
//!
//! 1. `input <= ip <= input_end`, and all bytes between `input` and `input_end` can be read.
//! 2. `output <= op <= output_end`, all bytes between `output` and `output_end` can be written, and
//!    those before `op` are initialized.
//! 3. What was read from the input and checked is not read again: the input may change meanwhile.

use crate::block::{DecompressError, MINMATCH};

/// The fast loop reads up to here past the start of a sequence: the token, 16 bytes for up to 14
/// literals, and the offset. It copies longer runs of literals in steps of this.
const INPUT_MARGIN: usize = 32;

/// The fast loop writes up to here past the end of a sequence's literals or match: what one step of
/// a copy has too much, and 18 bytes for a short match.
const OUTPUT_MARGIN: usize = 64;

/// Four bits of a token that say that the length goes on in further bytes.
const LONG: usize = 15;

/// The shortest distance of at least 8 that repeats a pattern of so many bytes.
const REPEAT: [usize; 8] = [0, 8, 8, 9, 8, 10, 12, 14];

/// Decompresses `input` until `output` is full or the block ends.
///
/// Returns the number of bytes written. What follows the needed part of the input is not looked at.
#[inline]
pub fn decompress_into_partial(input: &[u8], output: &mut [u8]) -> Result<usize, DecompressError> {
    // SAFETY: Both ranges are those of slices, which do not overlap.
    unsafe {
        decompress_partial_raw(
            input.as_ptr(),
            input.len(),
            output.as_mut_ptr(),
            output.len(),
        )
    }
}

/// The same for memory that cannot be a slice, because others may write to the input meanwhile.
/// Then the output is arbitrary; but no other memory is read or written.
///
/// # Safety
///
/// * `input_len` bytes from `input` on can be read.
/// * `output_len` bytes from `output` on can be written, nobody else accesses them meanwhile, and
///   they do not overlap the input.
pub unsafe fn decompress_partial_raw(
    input: *const u8,
    input_len: usize,
    output: *mut u8,
    output_len: usize,
) -> Result<usize, DecompressError> {
    // SAFETY: By the caller's promise, the ends are those of the same ranges.
    let mut decoder = unsafe {
        Decoder {
            ip: input,
            input_end: input.add(input_len),
            op: output,
            output,
            output_end: output.add(output_len),
        }
    };
    if input_len > INPUT_MARGIN && output_len > OUTPUT_MARGIN {
        decoder.fast()?;
    }
    decoder.exact()
}

/// The state between two sequences; the module's comment has its invariants.
struct Decoder {
    ip: *const u8,
    input_end: *const u8,
    op: *mut u8,
    output: *mut u8,
    output_end: *mut u8,
}

/// Bytes from `from` up to `to`.
#[inline(always)]
fn distance(from: *const u8, to: *const u8) -> usize {
    (to as usize).wrapping_sub(from as usize)
}

/// Copies `N` bytes.
///
/// # Safety
///
/// They can be read at `from` and written at `to`, and do not overlap.
#[inline(always)]
unsafe fn copy<const N: usize>(from: *const u8, to: *mut u8) {
    // SAFETY: By the caller's promise.
    unsafe { core::ptr::copy_nonoverlapping(from, to, N) }
}

/// Copies `len` bytes in steps of `N`, so up to `N - 1` more.
///
/// # Safety
///
/// The bytes of all steps can be read at `from` and written at `to`, and none of the steps overlaps
/// with itself.
#[inline(always)]
unsafe fn copy_steps<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    loop {
        // SAFETY: By the caller's promise.
        unsafe { copy::<N>(from.add(done), to.add(done)) };
        done += N;
        if done >= len {
            break;
        }
    }
}

/// Adds the bytes that continue a length.
///
/// # Safety
///
/// The bytes from `*ip` to `end` can be read.
#[inline(always)]
unsafe fn read_length(ip: &mut *const u8, end: *const u8) -> Result<usize, DecompressError> {
    let mut length = LONG;
    loop {
        if *ip >= end {
            return Err(DecompressError::ExpectedAnotherByte);
        }
        // SAFETY: `*ip` is before `end`.
        let byte = unsafe { ip.read_volatile() };
        // SAFETY: It is `end` at most.
        *ip = unsafe { ip.add(1) };
        // No memory has an input that makes this overflow; and lengths are checked anyway.
        length = length.wrapping_add(usize::from(byte));
        if byte != 255 {
            return Ok(length);
        }
    }
}

/// Reads the distance of a match.
///
/// # Safety
///
/// Two bytes at `ip` can be read.
#[inline(always)]
unsafe fn read_offset(ip: *const u8) -> usize {
    // SAFETY: By the caller's promise.
    let bytes = unsafe { ip.cast::<[u8; 2]>().read_volatile() };
    usize::from(u16::from_le_bytes(bytes))
}

/// Repeats the bytes from `distance` before `to` on, `len` bytes of them, and up to 15 more.
///
/// # Safety
///
/// `distance` is not 0, so many bytes before `to` can be read, and `len + 15` bytes from `to` on can
/// be written.
#[inline(always)]
unsafe fn repeat(to: *mut u8, distance: usize, len: usize) {
    // SAFETY: By the caller's promise, here and below. Steps are not longer than the distance.
    unsafe {
        let from = to.sub(distance).cast_const();
        if distance >= 16 {
            return copy_steps::<16>(from, to, len);
        }
        if distance >= 8 {
            return copy_steps::<8>(from, to, len);
        }
        for index in 0..8 {
            copy::<1>(from.add(index), to.add(index));
        }
        if len > 8 {
            let next = to.add(8);
            copy_steps::<8>(next.sub(REPEAT[distance & 7]), next, len - 8);
        }
    }
}

impl Decoder {
    /// Decompresses sequences as long as none of the copies, whose steps may go too far, can leave
    /// the input or the output.
    #[inline(always)]
    fn fast(&mut self) -> Result<(), DecompressError> {
        // SAFETY: The caller checked that both are longer than that.
        let (input_limit, output_limit) = unsafe {
            (
                self.input_end.sub(INPUT_MARGIN),
                self.output_end.sub(OUTPUT_MARGIN),
            )
        };
        let (mut ip, mut op) = (self.ip, self.op);
        while ip < input_limit && op < output_limit {
            (self.ip, self.op) = (ip, op);
            // SAFETY: There are at least `INPUT_MARGIN` bytes of input after this one.
            let token = usize::from(unsafe { ip.read_volatile() });
            ip = unsafe { ip.add(1) };
            let mut literals = token >> 4;
            if literals != LONG {
                // SAFETY: Both have room for 16 bytes, and for the up to 14 that count.
                unsafe { copy::<16>(ip, op) };
            } else {
                // SAFETY: `ip` is before the end.
                literals = unsafe { read_length(&mut ip, self.input_end)? };
                if literals.saturating_add(INPUT_MARGIN) > distance(ip, self.input_end)
                    || literals.saturating_add(OUTPUT_MARGIN) > distance(op, self.output_end)
                {
                    return Ok(());
                }
                // SAFETY: As just checked, with the margins for the last step.
                unsafe { copy_steps::<32>(ip, op, literals) };
            }
            // SAFETY: Both have so many bytes; the input has two more at least, and the output 50.
            let offset = unsafe {
                ip = ip.add(literals);
                op = op.add(literals);
                read_offset(ip)
            };
            ip = unsafe { ip.add(2) };
            if offset.wrapping_sub(1) >= distance(self.output, op) {
                return Err(bad_offset(offset));
            }
            let mut length = token & 15;
            if length != LONG && offset >= 8 {
                // SAFETY: The match starts in the output and has up to 18 bytes; the steps do not
                // overlap with themselves.
                unsafe {
                    let from = op.sub(offset).cast_const();
                    copy::<8>(from, op);
                    copy::<8>(from.add(8), op.add(8));
                    copy::<2>(from.add(16), op.add(16));
                    op = op.add(length + MINMATCH);
                }
                continue;
            }
            if length == LONG {
                // SAFETY: `ip` is at most the end.
                length = unsafe { read_length(&mut ip, self.input_end)? };
            }
            length = length.saturating_add(MINMATCH);
            if length.saturating_add(16) > distance(op, self.output_end) {
                return Ok(());
            }
            // SAFETY: The match starts in the output, and there is room for it and a step more.
            unsafe {
                repeat(op, offset, length);
                op = op.add(length);
            }
        }
        (self.ip, self.op) = (ip, op);
        Ok(())
    }

    /// Decompresses the rest without writing a byte too much.
    #[inline(always)]
    fn exact(&mut self) -> Result<usize, DecompressError> {
        loop {
            if self.op >= self.output_end {
                break;
            }
            if self.ip >= self.input_end {
                return Err(DecompressError::ExpectedAnotherByte);
            }
            // SAFETY: `ip` is before the end.
            let token = usize::from(unsafe { self.ip.read_volatile() });
            self.ip = unsafe { self.ip.add(1) };
            let mut literals = token >> 4;
            if literals == LONG {
                // SAFETY: `ip` is at most the end.
                literals = unsafe { read_length(&mut self.ip, self.input_end)? };
            }
            literals = literals.min(distance(self.op, self.output_end));
            if literals > distance(self.ip, self.input_end) {
                return Err(DecompressError::LiteralOutOfBounds);
            }
            // SAFETY: Both have so many bytes, as just checked.
            unsafe {
                core::ptr::copy_nonoverlapping(self.ip, self.op, literals);
                self.ip = self.ip.add(literals);
                self.op = self.op.add(literals);
            }
            // The last sequence of a block has no match.
            if self.op >= self.output_end || self.ip >= self.input_end {
                break;
            }
            if distance(self.ip, self.input_end) < 2 {
                return Err(DecompressError::ExpectedAnotherByte);
            }
            // SAFETY: As just checked.
            let offset = unsafe { read_offset(self.ip) };
            self.ip = unsafe { self.ip.add(2) };
            if offset.wrapping_sub(1) >= distance(self.output, self.op) {
                return Err(bad_offset(offset));
            }
            let mut length = token & 15;
            if length == LONG {
                // SAFETY: `ip` is at most the end.
                length = unsafe { read_length(&mut self.ip, self.input_end)? };
            }
            let room = distance(self.op, self.output_end);
            length = length.saturating_add(MINMATCH).min(room);
            // SAFETY: The match starts in the output, and there is room for it, and for a step more
            // where that is needed.
            unsafe {
                if length.saturating_add(16) <= room {
                    repeat(self.op, offset, length);
                } else {
                    copy_steps::<1>(self.op.sub(offset), self.op, length);
                }
                self.op = self.op.add(length);
            }
        }
        Ok(distance(self.output, self.op))
    }
}

#[cold]
fn bad_offset(offset: usize) -> DecompressError {
    match offset {
        0 => DecompressError::OffsetZero,
        _ => DecompressError::OffsetOutOfBounds,
    }
}
