//! Decompression of as much as fits into the output: a local addition, see CHANGES.md.
//!
//! There are two ways to decompress a sequence, an exact one and a fast one. Between two sequences
//! these facts hold, which is what each `SAFETY` comment stands on:
//!
//! 1. `ip` is in the input or at its end, and all bytes from there to the end can be read.
//! 2. `pos <= len`, all `len` bytes of the output can be written, and those before `pos` are
//!    initialized.
//! 3. What was read from the input and checked is not read again: the input may change meanwhile.
//!
//! The fast way copies in steps that may go too far. It has a budget: so many units of bytes are left
//! both of the input and of the output. A sequence with short lengths needs one unit, and no other
//! check; a longer run or match takes its units from the budget first. Most sequences are short
//! ones: they have a loop of their own, made for few instructions on a machine without vector
//! registers, as which a compiler sees every machine in the kernel.

use crate::block::{DecompressError, MINMATCH};

/// What the budget of the fast way counts in: as many bytes of the input and of the output as a
/// sequence with short lengths reads and writes at most. These are a token, 14 literals that are
/// copied as 16, and an offset; and 14 literals and a match of 18.
const UNIT: usize = 32;

/// How long the steps are that longer runs of literals and matches are copied in.
const STEP: usize = 32;

/// What a run of literals or a match takes more of the budget than its length: what else of the
/// sequence was not paid for yet, 14 literals at most; and what makes up for rounding down. As some of
/// the budget must be left then, there is room for a last step as well.
const EXTRA: usize = 14 + UNIT - 1;

/// Offsets less than this are those of matches that cannot be copied by words. The fast way begins
/// as far from the start of the output, see [`Decoder::short`].
const NEAR: usize = 8;

/// Four bits of a token that say that the length goes on in further bytes.
const LONG: usize = 15;

/// For each token the length of its match, or 0 if one of its lengths goes on in further bytes.
static SHORT_MATCH: [u8; 256] = {
    let mut table = [0; 256];
    let mut token = 0;
    while token < LONG << 4 {
        if token & 15 != LONG {
            table[token] = ((token & 15) + MINMATCH) as u8;
        }
        token += 1;
    }
    table
};

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
    // SAFETY: By the caller's promise, that is the end of the same range.
    let end = unsafe { input.add(input_len) };
    let mut decoder = Decoder {
        ip: input,
        end,
        output,
        len: output_len,
        pos: 0,
    };
    loop {
        decoder.fast()?;
        if decoder.exact()? {
            return Ok(decoder.pos);
        }
    }
}

/// The state between two sequences; the module's comment has its invariants.
struct Decoder {
    ip: *const u8,
    end: *const u8,
    output: *mut u8,
    len: usize,
    pos: usize,
}

/// Where the fast way is.
struct Place {
    ip: *const u8,
    /// Less by `NEAR` than the number of bytes in the output.
    at: usize,
    /// So many times [`UNIT`] bytes from here on are in the input, and in the output.
    budget: usize,
}

impl Place {
    #[inline(always)]
    fn pos(&self) -> usize {
        self.at + NEAR
    }
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
    // SAFETY: By the caller's promise.
    unsafe {
        copy::<N>(from, to);
        if len > N {
            copy_more_steps::<N>(from, to, len);
        }
    }
}

/// The same but for the first step, away from where one step is enough mostly.
///
/// # Safety
///
/// That of [`copy_steps`].
#[inline(never)]
unsafe fn copy_more_steps<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let mut done = N;
    while done < len {
        // SAFETY: By the caller's promise.
        unsafe { copy::<N>(from.add(done), to.add(done)) };
        done += N;
    }
}

/// Adds the bytes that continue a length.
///
/// # Safety
///
/// `*ip` is in the input or at its `end`.
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
        // Less than 255 times the size of the input, which no memory has so much of that it wraps.
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

/// Repeats the last `offset` bytes before `to`, up to a length of `len`, and up to `STEP - 1` bytes
/// more.
///
/// # Safety
///
/// `offset` is not 0, so many bytes before `to` can be read, and `len + STEP` bytes from `to` on can
/// be written.
#[inline(always)]
unsafe fn repeat(to: *mut u8, offset: usize, len: usize) {
    // SAFETY: By the caller's promise; steps are not longer than the offset.
    unsafe {
        if offset >= STEP {
            copy_steps::<STEP>(to.sub(offset), to, len);
        } else if offset >= 8 {
            copy_steps::<8>(to.sub(offset), to, len);
        } else {
            repeat_near(to, offset, len);
        }
    }
}

/// The same for offsets less than 8.
///
/// # Safety
///
/// That of [`repeat`].
#[inline(never)]
unsafe fn repeat_near(to: *mut u8, offset: usize, len: usize) {
    // SAFETY: By the caller's promise; steps are not longer than the distances that they go.
    unsafe {
        let from = to.sub(offset).cast_const();
        for index in 0..8 {
            copy::<1>(from.add(index), to.add(index));
        }
        if len > 8 {
            let next = to.add(8);
            copy_steps::<8>(next.sub(REPEAT[offset & 7]), next, len - 8);
        }
    }
}

impl Decoder {
    /// Decompresses sequences as long as there is a budget for them: stops before the first one that
    /// there is none for.
    #[inline(always)]
    fn fast(&mut self) -> Result<(), DecompressError> {
        if self.pos < NEAR {
            return Ok(());
        }
        let mut place = Place {
            ip: self.ip,
            at: self.pos - NEAR,
            budget: 0,
        };
        while self.refill(&mut place) {
            // SAFETY: There is a budget.
            while let Some(token) = unsafe { self.short(&mut place) } {
                self.ip = place.ip;
                self.pos = place.pos();
                // SAFETY: There still is.
                if !unsafe { self.any(&mut place, token)? } {
                    return Ok(());
                }
            }
        }
        self.ip = place.ip;
        self.pos = place.pos();
        Ok(())
    }

    /// Decompresses sequences with short lengths until the budget is spent or there is another
    /// sequence: then returns its token.
    ///
    /// # Safety
    ///
    /// There is a budget.
    #[inline(always)]
    unsafe fn short(&self, place: &mut Place) -> Option<usize> {
        let base = self.output.wrapping_add(NEAR);
        loop {
            // SAFETY: All of this is in one unit, but for the start of the match. That one is in the
            // output: `from` wraps if it is before it, as well as if the offset is too small.
            unsafe {
                let token = usize::from(place.ip.read_volatile());
                let length = usize::from(SHORT_MATCH[token]);
                if length == 0 {
                    return Some(token);
                }
                let literals = token >> 4;
                copy::<16>(place.ip.add(1), base.wrapping_add(place.at));
                let offset = read_offset(place.ip.add(1 + literals));
                let next = place.at.wrapping_add(literals);
                let (from, wraps) = next.overflowing_sub(offset.wrapping_sub(NEAR));
                if wraps {
                    return Some(token);
                }
                let from = base.wrapping_add(from).wrapping_sub(NEAR).cast_const();
                let to = base.wrapping_add(next);
                copy::<8>(from, to);
                copy::<8>(from.add(8), to.add(8));
                copy::<2>(from.add(16), to.add(16));
                place.ip = place.ip.add(3 + literals);
                place.at = next.wrapping_add(length);
            }
            place.budget -= 1;
            if place.budget == 0 {
                return None;
            }
        }
    }

    /// Decompresses a sequence with this token, if the budget is enough, and leaves some of it;
    /// returns whether it was.
    ///
    /// # Safety
    ///
    /// There is a budget.
    #[inline(always)]
    unsafe fn any(&self, place: &mut Place, token: usize) -> Result<bool, DecompressError> {
        let base = self.output.wrapping_add(NEAR);
        let mut literals = token >> 4;
        // SAFETY: What is copied is within the budget, and all else that is read too; `check_offset`
        // sees to it that the match starts in the output.
        unsafe {
            place.ip = place.ip.add(1);
            if literals != LONG {
                copy::<16>(place.ip, base.wrapping_add(place.at));
            } else {
                let more = place.ip.read_volatile();
                literals += usize::from(more);
                if more == 255 || !self.take(place, literals) {
                    return Ok(false);
                }
                place.ip = place.ip.add(1);
                copy_steps::<STEP>(place.ip, base.wrapping_add(place.at), literals);
            }
            place.ip = place.ip.add(literals);
            place.at += literals;
            let offset = read_offset(place.ip);
            place.ip = place.ip.add(2);
            check_offset(offset, place.pos())?;
            let mut length = (token & 15) + MINMATCH;
            if length == LONG + MINMATCH {
                let more = place.ip.read_volatile();
                place.ip = place.ip.add(1);
                length += usize::from(more);
                if more == 255 {
                    return Ok(false);
                }
            }
            if !self.take(place, length) {
                return Ok(false);
            }
            repeat(base.wrapping_add(place.at), offset, length);
            place.at += length;
        }
        Ok(true)
    }

    /// Counts anew how much budget there is, and returns whether there is any.
    #[inline(always)]
    fn refill(&self, place: &mut Place) -> bool {
        let left = distance(place.ip, self.end).min(self.len - place.pos());
        place.budget = left / UNIT;
        place.budget != 0
    }

    /// Takes from the budget what a run of literals or a match of `len` bytes needs; returns whether
    /// there is more than that.
    #[inline(always)]
    fn take(&self, place: &mut Place, len: usize) -> bool {
        let units = (len + EXTRA) / UNIT;
        if units >= place.budget {
            self.refill(place);
            if units >= place.budget {
                return false;
            }
        }
        place.budget -= units;
        true
    }

    /// Decompresses one sequence without reading or writing a byte too much; returns whether it is
    /// the last one.
    #[inline(always)]
    fn exact(&mut self) -> Result<bool, DecompressError> {
        if self.pos >= self.len {
            return Ok(true);
        }
        if self.ip >= self.end {
            return Err(DecompressError::ExpectedAnotherByte);
        }
        // SAFETY: `ip` is before the end.
        let token = unsafe {
            let token = self.ip.read_volatile();
            self.ip = self.ip.add(1);
            usize::from(token)
        };
        let mut literals = token >> 4;
        if literals == LONG {
            // SAFETY: `ip` is at most the end.
            literals = unsafe { read_length(&mut self.ip, self.end)? };
        }
        literals = literals.min(self.len - self.pos);
        if literals > distance(self.ip, self.end) {
            return Err(DecompressError::LiteralOutOfBounds);
        }
        // SAFETY: Both have so many bytes, as just checked.
        unsafe {
            core::ptr::copy_nonoverlapping(self.ip, self.output.add(self.pos), literals);
            self.ip = self.ip.add(literals);
        }
        self.pos += literals;
        // The last sequence of a block has no match.
        if self.pos >= self.len || self.ip >= self.end {
            return Ok(true);
        }
        if distance(self.ip, self.end) < 2 {
            return Err(DecompressError::ExpectedAnotherByte);
        }
        // SAFETY: As just checked.
        let offset = unsafe {
            let offset = read_offset(self.ip);
            self.ip = self.ip.add(2);
            offset
        };
        check_offset(offset, self.pos)?;
        let mut length = token & 15;
        if length == LONG {
            // SAFETY: `ip` is at most the end.
            length = unsafe { read_length(&mut self.ip, self.end)? };
        }
        let room = self.len - self.pos;
        length = (length + MINMATCH).min(room);
        // SAFETY: The match starts in the output, and there is room for it, and for a step more
        // where that is needed.
        unsafe {
            let to = self.output.add(self.pos);
            if length + STEP <= room {
                repeat(to, offset, length);
            } else {
                copy_steps::<1>(to.sub(offset), to, length);
            }
        }
        self.pos += length;
        Ok(false)
    }
}

/// Checks that a match at byte `pos` of the output starts in the output, before that byte.
#[inline(always)]
fn check_offset(offset: usize, pos: usize) -> Result<(), DecompressError> {
    if offset.wrapping_sub(1) >= pos {
        return Err(bad_offset(offset));
    }
    Ok(())
}

#[cold]
fn bad_offset(offset: usize) -> DecompressError {
    match offset {
        0 => DecompressError::OffsetZero,
        _ => DecompressError::OffsetOutOfBounds,
    }
}
