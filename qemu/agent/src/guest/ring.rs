// SPDX-License-Identifier: GPL-2.0

//! Memory that io_uring holds: pages pinned for as long as somebody likes (`FOLL_LONGTERM`).
#![expect(
    unsafe_code,
    reason = "what is submitted to a ring refers to memory by address"
)]

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd},
};

use io_uring::{opcode::WriteFixed, types::Fd, IoUring};

use super::mapping::Mapping;

/// A mapping's pages as a ring's registered buffer, which stays when the mapping is gone.
pub struct FixedBuffer {
    ring: IoUring,
    /// Where the pages were mapped: the kernel takes an address for a place in the buffer, and
    /// does not look at what is mapped there.
    base: *const u8,
    len: usize,
}

impl FixedBuffer {
    /// Pins all pages of a mapping. The kernel takes no other than writable ones, and copies
    /// those of a private mapping first.
    ///
    /// # Errors
    /// The system calls'.
    pub fn pin(pages: &mut Mapping) -> io::Result<Self> {
        let ring = IoUring::new(4)?;
        let bytes = pages.bytes();
        let (base, len) = (bytes.as_ptr(), bytes.len());
        let buffer = libc::iovec {
            iov_base: base.cast_mut().cast(),
            iov_len: len,
        };
        // SAFETY: the pages are mapped and exclusively borrowed; the kernel keeps them as long as
        // the ring is there, and nothing here makes it write to them.
        unsafe { ring.submitter().register_buffers(&[buffer])? };
        Ok(Self { ring, base, len })
    }

    /// Writes a part of the buffer to a file.
    ///
    /// # Errors
    /// The system calls', and that of the write.
    pub fn write_to(
        &mut self,
        file: impl AsFd,
        range: Range<usize>,
        offset: u64,
    ) -> io::Result<usize> {
        assert!(range.start <= range.end && range.end <= self.len);
        let from = self.base.wrapping_add(range.start);
        let len = u32::try_from(range.len()).map_err(io::Error::other)?;
        let entry = WriteFixed::new(Fd(file.as_fd().as_raw_fd()), from, len, 0).offset(offset);
        // SAFETY: the file stays open until the write is done; the bytes are those of the
        // registered buffer, whose pages the kernel holds.
        let pushed = unsafe { self.ring.submission().push(&entry.build()) };
        pushed.map_err(io::Error::other)?;
        self.ring.submit_and_wait(1)?;
        let done = self.ring.completion().next();
        let done = done.ok_or_else(|| io::Error::other("no completion"))?;
        usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()))
    }
}
