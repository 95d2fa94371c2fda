// SPDX-License-Identifier: GPL-2.0

//! Where memory lies is for root to know, and where the kernel's objects are for nobody.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::extents,
    kmsg::KernelLog,
    mapping::{Mapping, PAGE},
};
use rustix::io::Errno;

use super::USER;
use crate::{
    erodax::{
        expectation, messages, mount, mount_refused, serve_initrd, unload, Device, GOOD, MOUNTS,
    },
    suites::{xattrs::as_user, zoo},
};

const CLASS: &str = "/sys/class/erodax/erodax0/";
const MODULE: &str = "/sys/module/erodax/";
const HUGE: u64 = 2 << 20;

/// Files by their modes.
pub(super) fn attributes() -> Result<()> {
    let module = serve_initrd()?;
    let mounted = mount(GOOD, "")?;
    let expected = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("address" | "region") => 0o400,
        _ => 0o444,
    };
    let class = ["address", "aligned", "kind", "name", "offset", "size"];
    let mut files: Vec<PathBuf> = class
        .iter()
        .map(|name| Path::new(CLASS).join(name))
        .collect();
    let parameters = ["region", "fstype"].iter();
    files.extend(parameters.map(|name| Path::new(MODULE).join("parameters").join(name)));
    let of_mount = files_in(Path::new(MOUNTS))?;
    ensure!(of_mount.len() > 5, "{of_mount:?}");
    files.extend(of_mount);
    for file in &files {
        let mode = fs::metadata(file)?.mode() & 0o7777;
        ensure!(mode == expected(file), "{}: {mode:o}", file.display());
        as_user(USER, || {
            let read = fs::read(file).map(drop);
            ensure!(
                read.is_ok() == (mode == 0o444),
                "{}: {read:?}",
                file.display()
            );
            Ok(())
        })?;
    }
    mounted.unmount()?;
    unload(module)
}

/// The files in a folder of sysfs and in those in it; links are not followed.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Whatever an ordinary user can read about the module, its devices and its mounts.
pub(super) fn nothing_tells_physical_addresses() -> Result<()> {
    let module = serve_initrd()?;
    let mounted = mount(GOOD, "dax")?;
    let device = Device::of(GOOD)?;
    let mut files = Vec::new();
    for folder in [CLASS, MODULE, MOUNTS] {
        files.extend(files_in(&fs::canonicalize(folder)?)?);
    }
    let of_system = ["self/mountinfo", "mounts", "iomem", "devices", "modules"];
    files.extend(of_system.map(|name| Path::new("/proc").join(name)));
    let forms = [device.address, device.address / 4096]
        .map(|number| [format!("{number:x}"), number.to_string()])
        .concat();
    let tells = |file: &Path| -> Option<bool> {
        let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
        Some(forms.iter().any(|form| text.contains(form)))
    };
    // Root finds it, where it is.
    ensure!(tells(&Path::new(CLASS).join("address")) == Some(true));
    as_user(USER, || {
        let mut read = 0;
        for file in &files {
            let told = tells(file);
            ensure!(told != Some(true), "{} tells it", file.display());
            read += usize::from(told.is_some());
        }
        ensure!(
            read > 15,
            "only {read} of {} files can be read",
            files.len()
        );
        Ok(())
    })?;
    mounted.unmount()?;
    unload(module)
}

/// What FIEMAP calls physical is a place in the image.
pub(super) fn extents_are_offsets() -> Result<()> {
    let module = serve_initrd()?;
    let mounted = mount(zoo::INLINE.name, "dax")?;
    let size = Device::of(zoo::INLINE.name)?.size;
    let mut seen = 0;
    for entry in expectation(zoo::INLINE.name)? {
        if entry.sha256.is_none() {
            continue;
        }
        for extent in extents(File::open(mounted.path().join(entry.path()))?, 0, u64::MAX)? {
            let end = extent.physical.checked_add(extent.length);
            ensure!(
                end.is_some_and(|end| end <= size),
                "{}: {extent:?}",
                entry.path().display()
            );
            seen += 1;
        }
    }
    ensure!(seen > 20, "{seen} extents");
    mounted.unmount()?;
    unload(module)
}

/// Where a file is mapped tells nothing about where it is in memory: by pages of 2 MiB the
/// retained initrd is not mapped, so that addresses need not match.
pub(super) fn addresses_of_mappings() -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(zoo::INLINE.name)?;
    let mounted = mount(zoo::INLINE.name, "dax")?;
    let file = File::open(mounted.path().join("big"))?;
    let extents = extents(&file, 0, u64::MAX)?;
    let first = extents.first().context("no extent")?;
    ensure!(
        (device.address + first.physical) % HUGE != 0,
        "the file is at a multiple of 2 MiB: one cannot tell"
    );
    let len = usize::try_from(HUGE)? + PAGE;
    let mapping = Mapping::read_only(&file, len)?;
    let address = u64::try_from(mapping.bytes().as_ptr().addr())?;
    ensure!(address % HUGE == 0, "mapped at {address:#x}");
    drop((mapping, file));
    mounted.unmount()?;
    unload(module)
}

/// Neither where all is well nor where it is not.
pub(super) fn messages_without_pointers() -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let module = serve_initrd()?;
    mount(GOOD, "")?.unmount()?;
    let node = Device::of(GOOD)?.node;
    mount_refused(&node, "nonsense", Errno::INVAL, &["nonsense"])?;
    mount_refused(&node, "fsoffset=4096", Errno::INVAL, &[])?;
    unload(module)?;
    let messages = messages(&mut log)?;
    ensure!(messages.len() >= 4, "{messages:?}");
    // The upper half of the address space, where the kernel is, with page tables of five levels as well.
    let is_pointer = |word: &str| word.len() == 16 && word.starts_with("ff");
    for message in &messages {
        let mut words = message.split(|letter: char| !letter.is_ascii_hexdigit());
        ensure!(!words.any(is_pointer), "{message}");
    }
    Ok(())
}
