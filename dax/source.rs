// SPDX-License-Identifier: GPL-2.0

//! From what was given to mount to the memory that holds the image.

use super::{
    chardev,
    device::is_ours,
    fsdax::{is_dax_number, FsDax},
    losses,
    mapping::{map_window, Run},
    memory::Memory,
    region::Region,
    users::Listed,
};
use crate::{
    bindings,
    vfs::{DaxExtent, Emitter, Fault, Outcome, SuperBlock},
};
use core::{cmp::Ordering, mem::MaybeUninit};
use erodax_format::{Error as FormatError, Image};
use kernel::{
    cred::Credential,
    error::{from_err_ptr, to_result},
    fmt,
    iov::IovIterDest,
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
    /// A block device whose memory cannot be had.
    NotDax,
    /// A partition that does not begin and end at pages.
    UnalignedPartition,
    /// Memory that is not in one piece.
    Pieces,
    /// Memory that the device does not give access to.
    Access(Error),
    /// A character device of the DAX bus that is not bound to the driver for filesystems.
    NotFsdev,
    /// A device that somebody else has claimed.
    Busy,
    /// A filesystem mounted with `nodev` holds the device's node.
    NoDev,
}

impl SourceError {
    /// The error code for it.
    pub(crate) fn errno(&self) -> Error {
        match self {
            Self::Path(error) | Self::Access(error) => *error,
            Self::NoDevice => ENOTBLK,
            Self::OtherDevice | Self::NotDax | Self::NotFsdev => ENXIO,
            Self::UnalignedPartition | Self::Pieces => EINVAL,
            Self::Busy => EBUSY,
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
            Self::OtherDevice => f.write_str(
                "is a device of another driver: mount one of /dev/erodaxN, a pmem block device, or \
                 a /dev/daxX.Y of fsdev_dax",
            ),
            Self::NotDax => f.write_str(
                "is no DAX device (its queue/dax is 0): of pmem, make a namespace in mode fsdax",
            ),
            Self::UnalignedPartition => write!(
                f,
                "does not begin and end at multiples of {PAGE_SIZE} bytes: partition the disk anew"
            ),
            Self::Pieces => f.write_str(
                "is not one piece of memory: put the image on a device that is, not on several \
                 that were joined",
            ),
            Self::Access(error) => write!(
                f,
                "does not give access to its memory: error {}; are there bad blocks?",
                error.to_errno()
            ),
            Self::NotFsdev => f.write_str(
                "is not bound to fsdev_dax: write its name to \
                 /sys/bus/dax/drivers/device_dax/unbind, and to \
                 /sys/bus/dax/drivers/fsdev_dax/new_id",
            ),
            Self::Busy => f.write_str("is in use by another mount or driver: release it there"),
            Self::NoDev => f.write_str("lies on a filesystem mounted with nodev"),
        }
    }
}

/// A device that can be mounted; all paths of one device lead to the same.
#[derive(PartialEq, Eq)]
pub(crate) struct DeviceId {
    kind: Kind,
    number: bindings::dev_t,
}

/// What a node is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A device of ours.
    Region,
    /// A block device.
    Block,
    /// A character device of the DAX bus.
    Dax,
}

impl DeviceId {
    /// The device that a path such as /dev/erodax0 leads to.
    pub(crate) fn of(path: &CStr) -> Result<Self, SourceError> {
        Path::lookup(path).map_err(SourceError::Path)?.device()
    }
}

/// Whose the memory is.
enum Owner {
    /// Ours.
    Region(Arc<Region>),
    /// Another driver's.
    Device(KBox<FsDax>),
}

/// An image in memory, as a mount sees it.
///
/// # Invariants
///
/// `memory` is that of `owner`, and looked at by [`View::with`] only.
pub(crate) struct View {
    owner: Owner,
    /// The image's bytes. Those of another driver's are there only while its device is.
    memory: Memory<'static>,
    /// Bytes of the region or device before the image.
    base: u64,
    /// As one whose files can have pages of a carve-out mapped.
    _listed: Option<Listed>,
}

impl View {
    /// The view that a mount's source leads to.
    pub(crate) fn of_source(
        path: &CStr,
        sb: SuperBlock,
        credentials: &Credential,
    ) -> Result<Self, SourceError> {
        match FsDax::mounted(sb) {
            Some(device) => Self::of_device(device?),
            None => Self::open(path, sb, credentials),
        }
    }

    /// The view that a path such as /dev/erodax0 leads to.
    pub(crate) fn open(
        path: &CStr,
        sb: SuperBlock,
        credentials: &Credential,
    ) -> Result<Self, SourceError> {
        let name = path;
        let path = Path::lookup(name).map_err(SourceError::Path)?;
        let kind = path.device()?.kind;
        if kind == Kind::Block {
            return Self::of_device(FsDax::further(name, sb)?);
        }
        let file = path.open(credentials).map_err(SourceError::Path)?;
        if kind == Kind::Dax {
            // SAFETY: The number is one of the DAX core's, and the file is open until the end
            // of this function.
            return Self::of_device(unsafe { FsDax::of_character(file.0, sb)? });
        }
        // SAFETY: A device number of ours means that it was opened with our operations, and
        // the file is open until the end of this function.
        let device = unsafe { chardev::device_of(file.0) };
        let region = device.region().clone();
        let listed = region.losses().map(|_| Listed::mount(sb)).transpose();
        let memory = device.memory().map_err(SourceError::Path)?;
        Ok(Self {
            owner: Owner::Region(region),
            // SAFETY: The region keeps it, which the view holds beside it.
            memory: unsafe { memory.for_longer() },
            base: 0,
            _listed: listed.map_err(SourceError::Path)?,
        })
    }

    fn of_device(device: FsDax) -> Result<Self, SourceError> {
        let device = KBox::new(device, GFP_KERNEL).map_err(|_| SourceError::Path(ENOMEM))?;
        Ok(Self {
            // SAFETY: By the invariant, `with` looks at it when the device is alive.
            memory: unsafe { device.memory() },
            owner: Owner::Device(device),
            base: 0,
            _listed: None,
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
        let first = match &self.owner {
            Owner::Region(region) => region.offset_in_page(),
            Owner::Device(_) => 0,
        };
        (first + (self.base % PAGE_SIZE as u64) as usize) % PAGE_SIZE
    }

    /// Whether the memory has pages that can be mapped at all.
    pub(crate) fn has_pages(&self) -> bool {
        match &self.owner {
            Owner::Region(_) => true,
            Owner::Device(device) => device.has_pages(),
        }
    }

    /// Whether the memory is another driver's, whose pages obey the rules of `fs/dax.c`.
    pub(crate) fn is_fsdax(&self) -> bool {
        matches!(self.owner, Owner::Device(_))
    }

    /// Whether the device below goes or is gone.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.owner {
            Owner::Region(_) => false,
            Owner::Device(device) => device.is_gone(),
        }
    }

    /// The device below goes: from now on nothing of it is mapped any more.
    pub(crate) fn shut_down(&self) {
        if let Owner::Device(device) = &self.owner {
            device.shut_down();
        }
    }

    /// Waits for the pages that were mapped; to be called when they are unmapped.
    pub(crate) fn wait_until_returned(&self) {
        if let Owner::Device(device) = &self.owner {
            device.wait_until_returned();
        }
    }

    /// Copies `len` bytes from `offset` on to the reader; returns the bytes copied, fewer where
    /// its buffer ends or faults, or memory was lost.
    pub(crate) fn copy_to_iter(
        &self,
        offset: u64,
        len: u64,
        out: &mut IovIterDest<'_>,
    ) -> Result<usize, FormatError> {
        let len = match self.intact_len(offset, len) {
            0 => len,
            intact => intact,
        };
        self.with_part(offset, len, |part| part.copy_to_iter(out))
    }

    /// Passes a directory entry on whose name is the `len` bytes at `offset`; false if there is no
    /// room for it.
    pub(crate) fn emit_name(
        &self,
        offset: u64,
        len: u64,
        out: &mut Emitter<'_>,
        number: u64,
        file_type: u32,
    ) -> Result<bool, FormatError> {
        self.with_part(offset, len, |name| name.emit_name(out, number, file_type))
    }

    /// Whether there are `len` bytes at `offset`, all zero, or lost.
    pub(crate) fn hides_nothing(&self, offset: u64, len: u64) -> bool {
        match self.with_part(offset, len, |part| part.is_zero()) {
            Ok(is_zero) => is_zero,
            Err(error) => error == losses::lost(),
        }
    }

    /// Page `index` of a file that lies in a run, if it is a page of memory as it lies that may
    /// be handed around, and is not lost.
    pub(crate) fn page(&self, run: Run, index: u64) -> Option<BorrowedPage<'_>> {
        match &self.owner {
            Owner::Region(region) => {
                let run = self.in_owner(run)?;
                let size = PAGE_SIZE as u64;
                let is_intact = region.intact_len(run.offset_of(index)?, size) == size;
                run.page(region, index).filter(|_| is_intact)
            }
            Owner::Device(_) => None,
        }
    }

    /// Answers a fault with the image's own pages; see [`map_window`].
    pub(crate) fn map(&self, fault: &mut Fault<'_>, run: Run) -> Option<Outcome> {
        let run = self.in_owner(run)?;
        match &self.owner {
            Owner::Region(region) => map_window(fault, region, run),
            Owner::Device(device) => device.map(fault, run),
        }
    }

    /// What `fs/dax.c` may map of a run from `position` in the file on. Nothing may be mapped
    /// by [`View::map`] then.
    pub(crate) fn dax_extent(&self, run: Run, position: u64) -> Option<DaxExtent> {
        match &self.owner {
            Owner::Region(_) => None,
            Owner::Device(device) => device.extent(self.in_owner(run)?, position),
        }
    }

    /// A run of the image as a run of the region or device.
    fn in_owner(&self, run: Run) -> Option<Run> {
        // What is checked against the region's end must be inside the image as well.
        let end = run.offset.checked_add(run.len)?;
        let len = run.len - end.saturating_sub(self.memory.size() as u64).min(run.len);
        Some(Run {
            offset: self.base.checked_add(run.offset)?,
            len,
            ..run
        })
    }

    /// Looks at the `len` bytes at `offset`. They cannot be kept: they may go afterwards.
    pub(crate) fn with_part<R>(
        &self,
        offset: u64,
        len: u64,
        look: impl FnOnce(Memory<'_>) -> R,
    ) -> Result<R, FormatError> {
        self.with(offset, len, |memory| memory.part(offset, len).map(look))?
            .ok_or(FormatError::OutOfBounds)
    }

    /// Looks at the image's bytes, of these at most, if they are there.
    #[inline(always)]
    fn with<R>(
        &self,
        offset: u64,
        len: u64,
        look: impl FnOnce(&Memory<'_>) -> R,
    ) -> Result<R, FormatError> {
        if self.intact_len(offset, len) < len {
            return Err(losses::lost());
        }
        let _alive = match &self.owner {
            Owner::Region(_) => None,
            Owner::Device(device) => Some(device.alive().ok_or(FormatError::NoDevice)?),
        };
        Ok(look(&self.memory))
    }

    /// How many of the `len` bytes from `offset` on can be had before a page that is lost.
    #[inline(always)]
    fn intact_len(&self, offset: u64, len: u64) -> u64 {
        match &self.owner {
            Owner::Region(region) => region.intact_len(self.base.saturating_add(offset), len),
            Owner::Device(_) => len,
        }
    }
}

impl Image for View {
    #[inline]
    fn len(&self) -> u64 {
        self.memory.len()
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> erodax_format::Result<()> {
        self.with(offset, buf.len() as u64, |memory| {
            memory.read_at(offset, buf)
        })?
    }

    #[inline(always)]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> erodax_format::Result<T> {
        self.with(offset, size_of::<T>() as u64, |memory| memory.read(offset))?
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> erodax_format::Result<Ordering> {
        self.with(offset, len as u64, |memory| {
            memory.cmp_at(offset, len, other)
        })?
    }

    #[inline]
    fn strnlen_at(&self, offset: u64, max: usize) -> erodax_format::Result<usize> {
        self.with(offset, max as u64, |memory| memory.strnlen_at(offset, max))?
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

    /// The device whose node the path leads to, if that may be used.
    fn device(&self) -> Result<DeviceId, SourceError> {
        // SAFETY: The dentry is positive and held by the invariant.
        let (mode, number) = unsafe {
            let inode = (*self.0.dentry).d_inode;
            (u32::from((*inode).i_mode), (*inode).i_rdev)
        };
        // Others are not even opened: that alone can do something.
        let kind = match mode & bindings::S_IFMT {
            bindings::S_IFBLK => Kind::Block,
            bindings::S_IFCHR if is_ours(number) => Kind::Region,
            bindings::S_IFCHR if is_dax_number(number) => Kind::Dax,
            bindings::S_IFCHR => return Err(SourceError::OtherDevice),
            _ => return Err(SourceError::NoDevice),
        };
        // SAFETY: The path is valid by the invariant.
        if unsafe { bindings::erodax_may_open_dev(&self.0) } {
            Ok(DeviceId { kind, number })
        } else {
            Err(SourceError::NoDev)
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
