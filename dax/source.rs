// SPDX-License-Identifier: GPL-2.0

//! From what was given to mount to the memory that holds the image.

use super::{
    chardev,
    device::is_ours,
    mapping::{map_window, Run},
    memory::Memory,
    region::Region,
};
use crate::{
    bindings,
    vfs::{Fault, Outcome},
};
use core::{cmp::Ordering, mem::MaybeUninit, ops::Deref};
use erodax_format::Image;
use kernel::{
    cred::Credential,
    error::{from_err_ptr, to_result},
    fmt,
    page::{BorrowedPage, PAGE_SIZE},
    prelude::*,
    str::CStrExt,
    sync::Arc,
};
use zerocopy::{FromBytes, IntoBytes};

/// Why a mount source cannot be used.
pub(crate) enum SourceError {
    /// The path cannot be followed, or not be opened.
    Path(Error),
    /// Not a device at all.
    NoDevice,
    /// A device of another driver.
    OtherDevice,
    /// A filesystem mounted with `nodev` holds the device's node.
    NoDev,
}

impl SourceError {
    /// The error code for it.
    pub(crate) fn errno(&self) -> Error {
        match self {
            Self::Path(error) => *error,
            Self::NoDevice => ENOTBLK,
            Self::OtherDevice => ENXIO,
            Self::NoDev => EACCES,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) if *error == ENOENT => {
                f.write_str("no such device: is its region among those loaded with region=?")
            }
            Self::Path(error) => write!(f, "cannot be opened: error {}", error.to_errno()),
            Self::NoDevice => f.write_str("is no device: mount one of /dev/erodaxN"),
            Self::OtherDevice => {
                f.write_str("is a device of another driver: mount one of /dev/erodaxN")
            }
            Self::NoDev => f.write_str("lies on a filesystem mounted with nodev"),
        }
    }
}

/// A device that can be mounted; all paths of one device lead to the same.
#[derive(PartialEq, Eq)]
pub(crate) struct DeviceId {
    /// Character or block device.
    kind: u32,
    number: bindings::dev_t,
}

impl DeviceId {
    /// The device that a path such as /dev/erodax0 leads to.
    pub(crate) fn of(path: &CStr) -> Result<Self, SourceError> {
        let path = Path::lookup(path).map_err(SourceError::Path)?;
        path.check_device()?;
        let (kind, number) = path.node();
        Ok(Self { kind, number })
    }
}

/// An image in memory, as a mount sees it.
///
/// Derefs to the image's bytes.
pub(crate) struct View {
    region: Arc<Region>,
    /// The image's bytes.
    memory: Memory,
    /// Bytes of the region before the image.
    base: u64,
}

impl View {
    /// The view that a path such as /dev/erodax0 leads to.
    pub(crate) fn open(path: &CStr, credentials: &Credential) -> Result<Self, SourceError> {
        let path = Path::lookup(path).map_err(SourceError::Path)?;
        path.check_device()?;
        let file = path.open(credentials).map_err(SourceError::Path)?;
        // SAFETY: A device number of ours means that it was opened with our operations, and
        // the file is open until the end of this function.
        let device = unsafe { chardev::device_of(file.0) };
        Ok(Self {
            region: device.region().clone(),
            memory: device.memory().map_err(SourceError::Path)?,
            base: 0,
        })
    }

    /// The view without its first `offset` bytes; None if there are not so many.
    pub(crate) fn after(self, offset: u64) -> Option<Self> {
        let left = (self.memory.size() as u64).checked_sub(offset)?;
        Some(Self {
            memory: self.memory.part(offset, left)?,
            base: self.base.checked_add(offset)?,
            ..self
        })
    }

    /// Whether the image begins at a page of memory, so that its pages can be mapped.
    pub(crate) fn is_aligned(&self) -> bool {
        self.offset_in_page() == 0
    }

    /// Offset of the image's first byte in its page.
    pub(crate) fn offset_in_page(&self) -> usize {
        (self.region.offset_in_page() + (self.base % PAGE_SIZE as u64) as usize) % PAGE_SIZE
    }

    /// Page `index` of a file that lies in a run, if it is a page of memory as it lies.
    pub(crate) fn page(&self, run: Run, index: u64) -> Option<BorrowedPage<'_>> {
        self.in_region(run)?.page(&self.region, index)
    }

    /// Answers a fault with the image's own pages; see [`map_window`].
    pub(crate) fn map(&self, fault: &mut Fault<'_>, run: Run) -> Option<Outcome> {
        map_window(fault, &self.region, self.in_region(run)?)
    }

    /// A run of the image as a run of the region.
    fn in_region(&self, run: Run) -> Option<Run> {
        // What is checked against the region's end must be inside the image as well.
        let end = run.offset.checked_add(run.len)?;
        let len = run.len - end.saturating_sub(self.memory.size() as u64).min(run.len);
        Some(Run {
            offset: self.base.checked_add(run.offset)?,
            len,
            ..run
        })
    }
}

impl Deref for View {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl Image for View {
    #[inline]
    fn len(&self) -> u64 {
        self.memory.len()
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> erodax_format::Result<()> {
        self.memory.read_at(offset, buf)
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> erodax_format::Result<T> {
        self.memory.read(offset)
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> erodax_format::Result<Ordering> {
        self.memory.cmp_at(offset, len, other)
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> erodax_format::Result<usize> {
        self.memory.strnlen_at(offset, max)
    }
}

/// A path that was followed; put back when dropped.
///
/// # Invariants
///
/// Holds references to a positive dentry and its mount.
struct Path(bindings::path);

impl Path {
    fn lookup(name: &CStr) -> Result<Self> {
        let mut path = MaybeUninit::uninit();
        // SAFETY: `name` is a string, and `path` is to be written.
        to_result(unsafe {
            bindings::kern_path(
                name.as_char_ptr(),
                bindings::LOOKUP_FOLLOW,
                path.as_mut_ptr(),
            )
        })?;
        // INVARIANT: SAFETY: Filled in, with references, by a lookup that succeeded.
        Ok(Self(unsafe { path.assume_init() }))
    }

    /// That the path is of one of our devices and may be used.
    fn check_device(&self) -> Result<(), SourceError> {
        let (kind, number) = self.node();
        match kind {
            bindings::S_IFCHR if is_ours(number) => {
                // SAFETY: The path is valid by the invariant.
                if unsafe { bindings::erodax_may_open_dev(&self.0) } {
                    Ok(())
                } else {
                    Err(SourceError::NoDev)
                }
            }
            bindings::S_IFCHR | bindings::S_IFBLK => Err(SourceError::OtherDevice),
            _ => Err(SourceError::NoDevice),
        }
    }

    /// The type of the file, and its number if it is a device's node.
    fn node(&self) -> (u32, bindings::dev_t) {
        // SAFETY: The dentry is positive and held by the invariant.
        unsafe {
            let inode = (*self.0.dentry).d_inode;
            (
                u32::from((*inode).i_mode) & bindings::S_IFMT,
                (*inode).i_rdev,
            )
        }
    }

    fn open(&self, credentials: &Credential) -> Result<OpenFile> {
        // SAFETY: The path is valid by the invariant, and so are the credentials.
        let file = unsafe {
            bindings::dentry_open(&self.0, bindings::O_RDONLY as i32, credentials.as_ptr())
        };
        from_err_ptr(file).map(OpenFile)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // SAFETY: The references are ours by the invariant.
        unsafe { bindings::path_put(&self.0) };
    }
}

/// A file that is open for us alone; closed when dropped.
struct OpenFile(*mut bindings::file);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: `dentry_open` gave us the reference.
        unsafe { bindings::fput(self.0) };
    }
}
