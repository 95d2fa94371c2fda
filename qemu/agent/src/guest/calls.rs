// SPDX-License-Identifier: GPL-2.0

//! Calls about files, mounts and modules for which there is no safe function: file handles, FIEMAP,
//! the filesystem's label, unknown ioctls, reads into one buffer, leases, loop devices, the owners
//! that a mount shows, mount(2) without a source, and modules whose parameters are not there yet.
#![expect(
    unsafe_code,
    reason = "these system calls and ioctls have no safe form, or none with all of their arguments"
)]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

use super::mapping::Mapping;

/// `MAX_HANDLE_SZ`
const MAX_HANDLE: usize = 128;

/// `struct file_handle` with room for the longest one.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// Bytes of `handle` in use.
    pub bytes: u32,
    /// `FILEID_*` of linux/exportfs.h.
    pub kind: i32,
    /// What the filesystem knows the file by.
    pub handle: [u8; MAX_HANDLE],
}

/// A handle of a file that stays valid without its name; links are not followed.
///
/// # Errors
/// The system call's.
pub fn name_to_handle(path: &Path) -> io::Result<FileHandle> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut handle = FileHandle {
        bytes: u32::try_from(MAX_HANDLE).map_err(io::Error::other)?,
        kind: 0,
        handle: [0; MAX_HANDLE],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: the path is a string; the handle has room for as many bytes as it says, and the
    // mount's number is ours to be written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    check(result)?;
    Ok(handle)
}

/// Opens a file for reading by its handle, in the filesystem that `within` is of.
///
/// # Errors
/// The system call's.
pub fn open_by_handle(within: impl AsFd, handle: &FileHandle) -> io::Result<OwnedFd> {
    // SAFETY: the handle is only read, and has as many bytes as it may say at most: the kernel
    // refuses those that say more.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            within.as_fd().as_raw_fd(),
            handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    let fd = libc::c_int::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: a descriptor that was just opened, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct fiemap_extent`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileExtent {
    /// Byte of the file.
    pub logical: u64,
    /// Byte of the device.
    pub physical: u64,
    /// Bytes.
    pub length: u64,
    reserved64: [u64; 2],
    /// `FIEMAP_EXTENT_*`
    pub flags: u32,
    reserved: [u32; 3],
}

impl FileExtent {
    /// `FIEMAP_EXTENT_LAST`
    pub const LAST: u32 = 1;
}

/// `struct fiemap` with room for some extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [FileExtent; Self::ROOM],
}

impl Fiemap {
    const ROOM: usize = 64;
    /// `FS_IOC_FIEMAP`
    const COMMAND: libc::Ioctl = 0xC020_660B;
}

/// Where the bytes of a file lie, up to a number of extents that is returned at a time.
///
/// # Errors
/// The ioctl's.
pub fn extents(file: impl AsFd, start: u64, length: u64) -> io::Result<Vec<FileExtent>> {
    let map = fiemap(file, start, length, Fiemap::ROOM)?;
    let mapped = usize::try_from(map.mapped).map_err(io::Error::other)?;
    Ok(map.extents.iter().take(mapped).copied().collect())
}

/// How many extents a file has.
///
/// # Errors
/// The ioctl's.
pub fn count_extents(file: impl AsFd) -> io::Result<u32> {
    Ok(fiemap(file, 0, u64::MAX, 0)?.mapped)
}

fn fiemap(file: impl AsFd, start: u64, length: u64, room: usize) -> io::Result<Box<Fiemap>> {
    assert!(room <= Fiemap::ROOM);
    let mut map = Box::new(Fiemap {
        start,
        length,
        flags: 0,
        mapped: 0,
        room: u32::try_from(room).map_err(io::Error::other)?,
        reserved: 0,
        extents: [FileExtent::default(); Fiemap::ROOM],
    });
    let request: &mut Fiemap = &mut map;
    // SAFETY: the request has room for as many extents as it says.
    let result =
        unsafe { libc::ioctl(file.as_fd().as_raw_fd(), Fiemap::COMMAND, &raw mut *request) };
    check(result.into())?;
    Ok(map)
}

/// Reads a file from its start in one call, one part after the other into the same buffer, as often
/// as a call allows (`UIO_MAXIOV`); returns how many bytes it was.
///
/// # Errors
/// The system call's.
pub fn read_repeatedly(file: impl AsFd, buffer: &mut [u8]) -> io::Result<u64> {
    const TIMES: usize = 1024;
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let parts = [part; TIMES];
    let count = libc::c_int::try_from(TIMES).map_err(io::Error::other)?;
    // SAFETY: every part is the buffer, which is exclusively borrowed; that the kernel writes to it
    // more than once is nobody's concern.
    let read = unsafe { libc::preadv(file.as_fd().as_raw_fd(), parts.as_ptr(), count, 0) };
    u64::try_from(check(i64::try_from(read).map_err(io::Error::other)?)?).map_err(io::Error::other)
}

/// The filesystem's label, up to its NUL.
///
/// # Errors
/// The ioctl's.
pub fn label(file: impl AsFd) -> io::Result<Vec<u8>> {
    /// `FSLABEL_MAX`
    const MAX: usize = 256;
    /// `FS_IOC_GETFSLABEL`
    const COMMAND: libc::Ioctl = 0x8100_9431;
    let mut label = [0xff_u8; MAX];
    // SAFETY: the kernel writes at most `FSLABEL_MAX` bytes.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), COMMAND, label.as_mut_ptr()) };
    check(result.into())?;
    let end = label.iter().position(|byte| *byte == 0);
    Ok(label[..end.unwrap_or(MAX)].to_vec())
}

/// An ioctl that takes no argument.
///
/// # Errors
/// The ioctl's.
pub fn ioctl(file: impl AsFd, command: u32) -> io::Result<()> {
    let command = libc::Ioctl::from(command);
    // SAFETY: a null pointer, which the kernel does not write to for anybody.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), command, ptr::null_mut::<u8>()) };
    check(result.into()).map(drop)
}

/// Loads a module; its parameters are the string that the mapping begins with when the kernel looks
/// at it, which it does late.
///
/// # Errors
/// The system call's.
pub fn load_module(file: impl AsFd, parameters: &Mapping) -> io::Result<()> {
    let (file, text) = (file.as_fd().as_raw_fd(), parameters.bytes().as_ptr());
    // SAFETY: the kernel only reads the string, and finds out by itself what is not mapped.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file, text, 0) };
    check(result).map(drop)
}

/// What a lease lets its holder know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// That somebody opens the file for writing (`F_RDLCK`).
    Read,
    /// That somebody opens the file (`F_WRLCK`).
    Write,
}

/// Takes a lease on an open file, until it is closed.
///
/// # Errors
/// The system call's.
pub fn take_lease(file: impl AsFd, lease: Lease) -> io::Result<()> {
    let kind = match lease {
        Lease::Read => libc::F_RDLCK,
        Lease::Write => libc::F_WRLCK,
    };
    // SAFETY: changes nothing but the file's lease.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, kind) };
    check(result.into()).map(drop)
}

/// mount(2) without flags: `data` has the options, and `source` may be missing.
///
/// # Errors
/// The system call's.
pub fn mount(source: Option<&Path>, target: &Path, fstype: &str, data: &str) -> io::Result<()> {
    let string = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let source = source.map(string).transpose()?;
    let (target, fstype, data) = (string(target)?, CString::new(fstype)?, CString::new(data)?);
    // SAFETY: all of them are strings, but for a missing source, which may be null.
    let result = unsafe {
        libc::mount(
            source
                .as_ref()
                .map_or(ptr::null(), |source| source.as_ptr()),
            target.as_ptr(),
            fstype.as_ptr(),
            0,
            data.as_ptr().cast(),
        )
    };
    check(result.into()).map(drop)
}

/// `struct mount_attr`
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a detached mount show owners as a user namespace maps them (`MOUNT_ATTR_IDMAP`).
///
/// # Errors
/// The system call's.
pub fn map_owners(mount: impl AsFd, user_namespace: impl AsFd) -> io::Result<()> {
    /// `MOUNT_ATTR_IDMAP`
    const IDMAP: u64 = 0x0010_0000;
    let namespace = user_namespace.as_fd().as_raw_fd();
    let attributes = MountAttributes {
        set: IDMAP,
        clear: 0,
        propagation: 0,
        user_namespace: u64::try_from(namespace).map_err(io::Error::other)?,
    };
    // SAFETY: the path is an empty string, the attributes are as long as is said and only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    check(result).map(drop)
}

/// Makes a loop device that is not in use show a file.
///
/// # Errors
/// The ioctl's.
pub fn attach_loop(device: impl AsFd, file: impl AsFd) -> io::Result<()> {
    /// `LOOP_SET_FD`
    const COMMAND: libc::Ioctl = 0x4C00;
    let file = file.as_fd().as_raw_fd();
    // SAFETY: takes a descriptor, of which the device gets a reference of its own.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), COMMAND, file) };
    check(result.into()).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
