// SPDX-License-Identifier: GPL-2.0

//! /dev/erodaxN: root's, and only to be read; and of its memory only the image.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
};

use anyhow::{ensure, Result};
use erodax_agent::guest::{
    calls,
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
};
use rustix::io::Errno;

use super::USER;
use crate::{
    erodax::{image_range, load, serve_initrd, unload, Device, GOOD},
    suites::{
        memory::{check_dies, signal},
        xattrs::as_user,
    },
};

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

fn errno<T>(answer: std::io::Result<T>) -> Result<T, Errno> {
    answer.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

pub(super) fn opened_by_root_only() -> Result<()> {
    let module = serve_initrd()?;
    for device in Device::all()? {
        let metadata = fs::metadata(&device.node)?;
        let (mode, owner) = (metadata.mode() & 0o7777, (metadata.uid(), metadata.gid()));
        ensure!(
            mode == 0o600 && owner == (0, 0),
            "{device:?}: {mode:o} of {owner:?}"
        );
        as_user(USER, || {
            let opened = errno(File::open(&device.node)).map(drop);
            ensure!(opened == Err(Errno::ACCESS), "{device:?}: {opened:?}");
            Ok(())
        })?;
    }
    unload(module)
}

/// Whoever writes to a private mapping writes to a copy.
pub(super) fn private_writes() -> Result<()> {
    let module = serve_initrd()?;
    let file = File::open(Device::of(GOOD)?.node)?;
    let mut before = vec![0; 2 * PAGE];
    file.read_exact_at(&mut before, 0)?;
    let shared = Mapping::new(&file, 0, 2 * PAGE, ProtFlags::READ, MapFlags::SHARED)?;
    let mut mine = Mapping::new(&file, 0, 2 * PAGE, WRITABLE, MapFlags::PRIVATE)?;
    // One page that was there before it was written to, and one that was not.
    mine.touch(0);
    mine.bytes_mut().fill(0xa5);
    let mut now = vec![0; 2 * PAGE];
    file.read_exact_at(&mut now, 0)?;
    ensure!(now == before && shared.bytes() == before, "memory changed");
    ensure!(mine.bytes().iter().all(|byte| *byte == 0xa5));
    drop((shared, mine, file));
    unload(module)
}

/// As a debugger writes: to a copy where there can be one, else not at all.
pub(super) fn forced_writes() -> Result<()> {
    let module = serve_initrd()?;
    let file = File::open(Device::of(GOOD)?.node)?;
    let mut before = [0; 16];
    file.read_exact_at(&mut before, 0)?;
    let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    let write = |mapping: &Mapping| -> Result<Result<usize, Errno>> {
        let address = u64::try_from(mapping.bytes().as_ptr().addr())?;
        Ok(errno(memory.write_at(&[0xa5; 16], address)))
    };
    let shared = Mapping::new(&file, 0, PAGE, ProtFlags::READ, MapFlags::SHARED)?;
    let answer = write(&shared)?;
    ensure!(answer == Err(Errno::IO), "shared: {answer:?}");
    let private = Mapping::read_only(&file, PAGE)?;
    let answer = write(&private)?;
    ensure!(answer == Ok(16), "private: {answer:?}");
    let mut now = [0; 16];
    file.read_exact_at(&mut now, 0)?;
    ensure!(now == before && shared.bytes()[..16] == before);
    drop((shared, private, file));
    unload(module)
}

/// There are none.
pub(super) fn ioctls() -> Result<()> {
    /// `BLKGETSIZE64`, `FS_IOC_GETFLAGS`, `TCGETS`, `FS_IOC_FIEMAP`, and nothing at all.
    const COMMANDS: [u32; 5] = [0x8008_1272, 0x8008_6601, 0x5401, 0xC020_660B, 0xffff_ffff];
    let module = serve_initrd()?;
    let file = File::open(Device::of(GOOD)?.node)?;
    for command in COMMANDS {
        let answer = errno(calls::ioctl(&file, command));
        let expected = match command {
            // The VFS answers for files that have no extents.
            0xC020_660B => Errno::OPNOTSUPP,
            _ => Errno::NOTTY,
        };
        ensure!(answer == Err(expected), "{command:#x}: {answer:?}");
    }
    drop(file);
    unload(module)
}

/// What lies in the region's pages before and behind the image is nobody's business: it may be
/// another image, or the kernel's.
pub(super) fn bytes_of_the_image_only() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    // Nothing at the page's end is the region's.
    let cut = size - 1000;
    let module = load(&format!("region={address:#x},{cut}"))?;
    let file = File::open("/dev/erodax0")?;
    let mut last = [0; PAGE];
    ensure!(file.read_at(&mut last, cut - 10)? == 10, "bytes behind it");
    for beyond in [cut, cut + 1, size, i64::MAX as u64 - PAGE as u64] {
        ensure!(file.read_at(&mut last, beyond)? == 0, "bytes at {beyond}");
    }
    let len = usize::try_from(size)?;
    let map = Mapping::read_only(&file, len + PAGE)?;
    map.touch(len - 2 * PAGE);
    for at in [len - PAGE, len - 1, len] {
        check_dies(signal::BUS, || map.touch(at))?;
    }
    drop((map, file));
    unload(module)?;
    // Nothing at the page's beginning is: what would a mapping begin with?
    let module = load(&format!("region={:#x},{cut}", address + 100))?;
    let file = File::open("/dev/erodax0")?;
    let mapped = Mapping::read_only(&file, PAGE).map(drop);
    ensure!(mapped == Err(Errno::NODEV), "{mapped:?}");
    drop(file);
    unload(module)
}
