// SPDX-License-Identifier: GPL-2.0

//! Bounded reads of kernel memory.

use crate::{
    bindings,
    codec::{Damaged, Decoders},
    vfs::{is_killed, Emitter},
};
use core::{cmp::Ordering, mem::MaybeUninit, ptr::NonNull};
use erodax_format::{pcluster::Algorithm, Error, Image};
use kernel::iov::IovIterDest;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes in kernel memory that somebody else may own and even change: they are only ever
/// copied out, never referenced.
///
/// # Invariants
///
/// `start..start + len` is mapped and readable for as long as the value is used.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: The bytes are plain memory that any CPU may read.
unsafe impl Send for Memory {}
// SAFETY: As above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory at a kernel address.
    ///
    /// # Safety
    ///
    /// `start..start + len` must be mapped and readable for as long as the value is used.
    pub(super) unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: By the caller's promise.
        Self { start, len }
    }

    /// Bytes in it.
    pub(crate) fn size(&self) -> usize {
        self.len
    }

    /// The part of `len` bytes at `offset`, if it lies inside.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Self> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `offset` is inside (or one past) what the invariant calls mapped.
        let start = unsafe { self.start.add(offset) };
        // INVARIANT: A part of memory for which the invariant holds.
        Some(Self { start, len })
    }

    /// Copies all of it to the reader; returns the bytes copied, fewer where its buffer
    /// ends or faults.
    pub(crate) fn copy_to_iter(&self, iter: &mut IovIterDest<'_>) -> usize {
        let start: *const u8 = self.start.as_ptr();
        in_pieces(self.len, |done, len| {
            // `_copy_to_iter`: the check of `copy_to_iter` is for slab objects, and it takes
            // memory in compound pages for one object.
            // SAFETY: The memory is readable by the invariant, and the piece a part of it; `iter`
            // is a valid iterator.
            unsafe { bindings::_copy_to_iter(start.add(done).cast(), len, iter.as_raw()) }
        })
    }

    /// Passes a directory entry on whose name it is; false if there is no room for it.
    pub(crate) fn emit_name(&self, out: &mut Emitter<'_>, number: u64, file_type: u32) -> bool {
        // SAFETY: The memory is readable by the invariant.
        unsafe { out.emit_at(self.start.as_ptr(), self.len, number, file_type) }
    }

    /// Fills `out` with what it decodes to; see [`Decoders::decode`].
    pub(crate) fn decode(
        &self,
        decoders: &mut Decoders,
        algorithm: Algorithm,
        padding: usize,
        out: &mut [u8],
        is_whole: bool,
    ) -> Result<(), Damaged> {
        // SAFETY: The memory is readable by the invariant, and no part of a slice of ours.
        unsafe { decoders.decode(algorithm, self.start, self.len, padding, out, is_whole) }
    }

    /// Whether every byte is zero.
    pub(crate) fn is_zero(&self) -> bool {
        let start = self.start.as_ptr().cast();
        // SAFETY: The memory is readable by the invariant.
        unsafe { bindings::memchr_inv(start, 0, self.len) }.is_null()
    }
}

impl Image for Memory {
    #[inline]
    fn len(&self) -> u64 {
        self.len as u64
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> erodax_format::Result<()> {
        let part = self
            .part(offset, buf.len() as u64)
            .ok_or(Error::OutOfBounds)?;
        // SAFETY: `part` is readable by its invariant and as long as `buf`, which is ours.
        unsafe {
            bindings::memcpy(
                buf.as_mut_ptr().cast(),
                part.start.as_ptr().cast(),
                part.len,
            )
        };
        Ok(())
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> erodax_format::Result<T> {
        let size = size_of::<T>();
        let part = self.part(offset, size as u64).ok_or(Error::OutOfBounds)?;
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast::<u8>();
        let words = size - size % 8;
        // SAFETY: `part` and `to` are both as long as `T`, and `copy` takes any alignment.
        // Every byte is written, and `T` takes any bytes.
        unsafe {
            for at in (0..words).step_by(8) {
                copy::<u64>(part.start.add(at), to.add(at));
            }
            let mut at = words;
            if size & 4 != 0 {
                copy::<u32>(part.start.add(at), to.add(at));
                at += 4;
            }
            if size & 2 != 0 {
                copy::<u16>(part.start.add(at), to.add(at));
                at += 2;
            }
            if size & 1 != 0 {
                copy::<u8>(part.start.add(at), to.add(at));
            }
            Ok(value.assume_init())
        }
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> erodax_format::Result<Ordering> {
        let part = self.part(offset, len as u64).ok_or(Error::OutOfBounds)?;
        let (ours, theirs) = (part.start.as_ptr().cast(), other.as_ptr().cast());
        // SAFETY: `part` is readable by its invariant, and `other` is a slice.
        let order = unsafe { bindings::memcmp(ours, theirs, len.min(other.len())) };
        Ok(order.cmp(&0).then(len.cmp(&other.len())))
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> erodax_format::Result<usize> {
        let part = self.part(offset, max as u64).ok_or(Error::OutOfBounds)?;
        // SAFETY: `part` is readable by its invariant.
        Ok(unsafe { bindings::strnlen(part.start.as_ptr().cast(), max) })
    }
}

/// Copies a word with one volatile load: the bytes may change, and what is checked later must be
/// what was read.
///
/// A volatile load of a larger type would be made of loads of single bytes.
///
/// # Safety
///
/// `from` must be readable and `to` writable for `W`, at any alignment.
#[inline(always)]
unsafe fn copy<W>(from: NonNull<u8>, to: *mut u8) {
    /// `W` at any address.
    #[repr(C, packed)]
    struct Unaligned<W>(W);

    // SAFETY: By the caller's promise; the alignment of `Unaligned` is 1.
    unsafe {
        let word = from.cast::<Unaligned<W>>().read_volatile();
        to.cast::<Unaligned<W>>().write(word);
    }
}

/// Gives the reader `len` zeros; returns how many it took.
pub(crate) fn zero_iter(iter: &mut IovIterDest<'_>, len: u64) -> usize {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    // SAFETY: A valid iterator.
    in_pieces(len, |_, len| unsafe {
        bindings::iov_iter_zero(len, iter.as_raw())
    })
}

/// Gives the reader `len` bytes by `give`, which is told how many were given already and how many
/// to give now, until it gives fewer; returns how many were given.
///
/// One call may ask for 2 GiB. Who is killed meanwhile does not have to wait for them.
fn in_pieces(len: usize, mut give: impl FnMut(usize, usize) -> usize) -> usize {
    const PIECE: usize = 4 << 20;
    let mut done = 0;
    while done < len && (done == 0 || !is_killed()) {
        let now = PIECE.min(len - done);
        let given = give(done, now);
        done += given;
        if given < now {
            break;
        }
    }
    done
}
