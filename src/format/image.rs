// SPDX-License-Identifier: GPL-2.0

//! Bounded reads of one image.

use crate::{Error, Result};
use core::{cmp::Ordering, ffi::CStr};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes that the provided methods hold on the stack at a time.
const PIECE: usize = 64;

/// The bytes of one image, wherever they are.
///
/// The bytes may change between two reads, as memory under a mounted image can: a decoder copies
/// each field once and never reads it again after a check. The length does not change.
///
/// Only [`len`](Image::len) and [`read_at`](Image::read_at) are required. The other methods have
/// the same results if an implementation that can address its bytes directly overrides them.
pub trait Image {
    /// Size of the image in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from byte `offset` of the image on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not all of them are in the image; `buf` is unspecified then.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Whether the image has no bytes.
    #[inline]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that `len` bytes from `offset` on are in the image.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not.
    #[inline]
    fn check(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(Error::OutOfBounds),
        }
    }

    /// Copies the on-disk structure at `offset`, which needs no alignment.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not all of it is in the image.
    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read_at(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// How the `len` bytes at `offset` order against `other`, both as strings of unsigned bytes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not all of the `len` bytes are in the image.
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> Result<Ordering> {
        self.check(offset, to_u64(len))?;
        let common = other.get(..len).unwrap_or(other);
        let mut buf = [0; PIECE];
        let mut at = offset;
        for theirs in common.chunks(PIECE) {
            let ours = piece(&mut buf, theirs.len());
            self.read_at(at, ours)?;
            match (*ours).cmp(theirs) {
                Ordering::Equal => at = at.saturating_add(to_u64(theirs.len())),
                unequal => return Ok(unequal),
            }
        }
        Ok(len.cmp(&other.len()))
    }

    /// Length of the string at `offset`: the bytes before the first NUL, at most `max`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not all of the `max` bytes are in the image.
    fn strnlen_at(&self, offset: u64, max: usize) -> Result<usize> {
        self.check(offset, to_u64(max))?;
        let mut buf = [0; PIECE];
        let mut seen = 0;
        while seen < max {
            let bytes = piece(&mut buf, max - seen);
            self.read_at(offset.saturating_add(to_u64(seen)), bytes)?;
            let len = strnlen(bytes);
            seen = seen.saturating_add(len);
            if len < bytes.len() {
                return Ok(seen);
            }
        }
        Ok(max)
    }
}

/// Length of the string at the start of `bytes`, which a NUL or their end ends.
#[inline]
fn strnlen(bytes: &[u8]) -> usize {
    CStr::from_bytes_until_nul(bytes).map_or(bytes.len(), CStr::count_bytes)
}

/// The first `len` bytes of `buf`, or all of it if it is shorter.
#[inline]
fn piece(buf: &mut [u8; PIECE], len: usize) -> &mut [u8] {
    let len = len.min(PIECE);
    buf.get_mut(..len).unwrap_or_default()
}

/// A `usize` has at most 64 bits on every machine that Linux runs on.
#[inline]
pub(crate) fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The `len` bytes at `offset` of a slice.
#[inline]
fn bytes_at(bytes: &[u8], offset: u64, len: usize) -> Result<&[u8]> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get(start..start.checked_add(len)?))
        .ok_or(Error::OutOfBounds)
}

impl Image for [u8] {
    #[inline]
    fn len(&self) -> u64 {
        to_u64(<[u8]>::len(self))
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = bytes_at(self, offset, buf.len())?;
        buf.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        let bytes = bytes_at(self, offset, size_of::<T>())?;
        T::read_from_bytes(bytes).map_err(|_| Error::OutOfBounds)
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> Result<Ordering> {
        Ok(bytes_at(self, offset, len)?.cmp(other))
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> Result<usize> {
        Ok(strnlen(bytes_at(self, offset, max)?))
    }
}

impl<I: Image + ?Sized> Image for &I {
    #[inline]
    fn len(&self) -> u64 {
        (**self).len()
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buf)
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        (**self).read(offset)
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> Result<Ordering> {
        (**self).cmp_at(offset, len, other)
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> Result<usize> {
        (**self).strnlen_at(offset, max)
    }
}

/// A part of an image that is an image itself, as an EROFS image inside an initrd is.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, I: ?Sized> {
    whole: &'a I,
    offset: u64,
    len: u64,
}

impl<'a, I: Image + ?Sized> Part<'a, I> {
    /// The `len` bytes of `whole` from byte `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if not all of them are in `whole`.
    pub fn new(whole: &'a I, offset: u64, len: u64) -> Result<Self> {
        whole.check(offset, len)?;
        Ok(Part { whole, offset, len })
    }

    /// Where `len` bytes at `offset` are in the whole image.
    #[inline]
    fn locate(&self, offset: u64, len: usize) -> Result<u64> {
        self.check(offset, to_u64(len))?;
        self.offset.checked_add(offset).ok_or(Error::OutOfBounds)
    }
}

impl<I: Image + ?Sized> Image for Part<'_, I> {
    #[inline]
    fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.whole.read_at(self.locate(offset, buf.len())?, buf)
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        self.whole.read(self.locate(offset, size_of::<T>())?)
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> Result<Ordering> {
        let offset = self.locate(offset, len)?;
        self.whole.cmp_at(offset, len, other)
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> Result<usize> {
        self.whole.strnlen_at(self.locate(offset, max)?, max)
    }
}

#[cfg(test)]
mod tests;
