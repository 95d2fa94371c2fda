// SPDX-License-Identifier: GPL-2.0

//! userfaultfd(2): a program that handles page faults of its own.
#![expect(unsafe_code, reason = "userfaultfd and its ioctls have no safe form")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use rustix::mm::{userfaultfd, UserfaultfdFlags};

use super::mapping::{Mapping, PAGE};

/// `UFFD_API`
const API: u64 = 0xaa;
/// `UFFDIO_API`
const NEGOTIATE: libc::Ioctl = 0xC018_AA3F;
/// `UFFDIO_REGISTER`
const REGISTER: libc::Ioctl = 0xC020_AA00;
/// `UFFDIO_COPY`
const PROVIDE: libc::Ioctl = 0xC028_AA03;
/// `UFFDIO_WRITEPROTECT`
const WRITE_PROTECT: libc::Ioctl = 0xC018_AA06;

/// What is to be known of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Accesses to pages that are not there: somebody else provides them.
    Missing,
    /// Writes, which go on at once: procfs tells later which pages they went to.
    WrittenAsync,
}

impl Mode {
    /// `UFFD_FEATURE_*`
    fn features(self) -> u64 {
        /// `UFFD_FEATURE_WP_UNPOPULATED`
        const UNPOPULATED: u64 = 1 << 13;
        /// `UFFD_FEATURE_WP_ASYNC`
        const ASYNC: u64 = 1 << 15;
        match self {
            Self::Missing => 0,
            Self::WrittenAsync => UNPOPULATED | ASYNC,
        }
    }

    /// `UFFDIO_REGISTER_MODE_*`
    fn register(self) -> u64 {
        match self {
            Self::Missing => 1,
            Self::WrittenAsync => 2,
        }
    }
}

/// A descriptor that watches mappings.
pub struct UserFault {
    fd: OwnedFd,
    mode: Mode,
}

impl UserFault {
    /// Opens one that watches nothing yet.
    ///
    /// # Errors
    /// The system call's, and `EINVAL` when the kernel lacks what `mode` needs.
    pub fn new(mode: Mode) -> io::Result<Self> {
        // One that blocks cannot be polled.
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: nothing is watched yet.
        let fd = unsafe { userfaultfd(flags)? };
        let this = Self { fd, mode };
        this.call(NEGOTIATE, &mut [API, mode.features(), 0])?;
        Ok(this)
    }

    /// Watches a mapping until the descriptor is closed.
    ///
    /// # Errors
    /// The ioctl's.
    pub fn watch(&self, pages: &mut Mapping) -> io::Result<()> {
        let (start, len) = Self::range(pages)?;
        self.call(REGISTER, &mut [start, len, self.mode.register(), 0])
    }

    /// Waits until somebody accesses a page that is not there; whether that happens in time.
    ///
    /// # Errors
    /// The system call's.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut event = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let limit = limit.as_millis().try_into().map_err(io::Error::other)?;
        // SAFETY: one event, which is ours to be written.
        match unsafe { libc::poll(&raw mut event, 1, limit) } {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(event.revents == libc::POLLIN),
        }
    }

    /// Provides the first page of a watched mapping, for whoever waits for it.
    ///
    /// # Errors
    /// The ioctl's.
    pub fn provide(&self, pages: &Mapping, content: &[u8; PAGE]) -> io::Result<()> {
        let (start, _) = Self::range(pages)?;
        let content = content.as_ptr().addr().try_into();
        let len = PAGE.try_into().map_err(io::Error::other)?;
        let mut argument = [start, content.map_err(io::Error::other)?, len, 0, 0];
        self.call(PROVIDE, &mut argument)
    }

    /// Has a write to any page of a watched mapping noticed.
    ///
    /// # Errors
    /// The ioctl's.
    pub fn protect(&self, pages: &mut Mapping) -> io::Result<()> {
        /// `UFFDIO_WRITEPROTECT_MODE_WP`
        const MODE: u64 = 1;
        let (start, len) = Self::range(pages)?;
        self.call(WRITE_PROTECT, &mut [start, len, MODE])
    }

    fn range(pages: &Mapping) -> io::Result<(u64, u64)> {
        let bytes = pages.bytes();
        let number = |number: usize| u64::try_from(number).map_err(io::Error::other);
        Ok((number(bytes.as_ptr().addr())?, number(bytes.len())?))
    }

    /// Each structure is an array of `__u64`.
    fn call<const N: usize>(
        &self,
        command: libc::Ioctl,
        argument: &mut [u64; N],
    ) -> io::Result<()> {
        // SAFETY: the argument is as long as the command says. Neither of the modes changes what
        // a mapping of a file shows: the kernel refuses the first one for it, unless it is in
        // memory, where a page is provided for nobody who has seen another one.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), command, argument.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
