// SPDX-License-Identifier: GPL-2.0

//! Mounting: sources, options, and unloading in the meantime.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    kmsg::KernelLog,
    module,
    mount::{Mount, MountAttrFlags},
};
use rustix::{
    fs::{makedev, mknodat, stat, FileType, Mode, CWD},
    io::Errno,
};

use crate::{
    erodax::{
        check_mountable, check_no_leak, messages, mount, mount_refused, mount_source, serve_initrd,
        unload, Device, Footprint, GOOD,
    },
    image::{Content, Image},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "mounts",
    machine: Machine {
        modules: &["brd"],
        images: &[
            Image::good(GOOD, Content::Small),
            Image::good("second", Content::Small),
        ],
        ..Machine::RETAINING
    },
    tests: tests![
        shown_in_proc_mounts,
        source_is_a_regular_file,
        source_is_a_directory,
        source_is_missing,
        source_is_another_character_device,
        source_is_a_block_device,
        source_through_a_symlink,
        source_on_a_nodev_filesystem,
        source_as_an_option,
        source_not_given,
        source_given_twice,
        unknown_option,
        bad_dax_value,
        two_images_at_once,
        one_image_twice,
        busy_mount_stays,
        unload_while_mounted,
        unload_while_device_is_open,
        mounting_leaks_nothing,
    ],
};

/// Refused with this error code and these words, nothing left behind, and usable afterwards.
fn check_refused(source: &str, options: &str, errno: Errno, words: &[&str]) -> Result<()> {
    let module = serve_initrd()?;
    let before = Footprint::now()?;
    mount_refused(Path::new(source), options, errno, words)?;
    before.check()?;
    check_mountable()?;
    unload(module)
}

fn shown_in_proc_mounts() -> Result<()> {
    let module = serve_initrd()?;
    for (options, shown) in [
        ("dax", "dax=always"),
        ("dax=always", "dax=always"),
        ("dax=never", "dax=never"),
    ] {
        let mount = mount(GOOD, options)?;
        let line = mount.shown_options().context("not in /proc/mounts")?;
        let fields: Vec<&str> = line.split(',').collect();
        ensure!(
            fields.contains(&"ro") && fields.contains(&shown),
            "{options}: {line}"
        );
    }
    let mount = mount(GOOD, "")?;
    let line = mount.shown_options().context("not in /proc/mounts")?;
    ensure!(
        line.split(',').any(|field| field == "ro") && !line.contains("dax"),
        "{line}"
    );
    mount.unmount()?;
    unload(module)
}

fn source_is_a_regular_file() -> Result<()> {
    fs::write("/tmp/file", "no device")?;
    check_refused(
        "/tmp/file",
        "dax",
        Errno::NOTBLK,
        &["/tmp/file", "no device"],
    )?;
    Ok(fs::remove_file("/tmp/file")?)
}

fn source_is_a_directory() -> Result<()> {
    check_refused("/tmp", "dax", Errno::NOTBLK, &["/tmp", "no device"])
}

fn source_is_missing() -> Result<()> {
    check_refused("/dev/erodax99", "dax", Errno::NOENT, &["/dev/erodax99"])?;
    check_refused("/no/such/path", "", Errno::NOENT, &["/no/such/path"])
}

fn source_is_another_character_device() -> Result<()> {
    for device in ["/dev/null", "/dev/zero", "/dev/mem"] {
        check_refused(device, "dax", Errno::NXIO, &[device, "another driver"])?;
    }
    Ok(())
}

fn source_is_a_block_device() -> Result<()> {
    let _brd = module::load("brd")?;
    check_refused(
        "/dev/ram0",
        "dax",
        Errno::NXIO,
        &["/dev/ram0", "no DAX device"],
    )
}

fn source_through_a_symlink() -> Result<()> {
    let module = serve_initrd()?;
    let link = Path::new("/tmp/link");
    std::os::unix::fs::symlink(Device::of(GOOD)?.node, link)?;
    mount_source(link, "dax", GOOD)?.unmount()?;
    fs::remove_file(link)?;
    unload(module)
}

/// What `nodev` forbids for open must not be had by mounting.
fn source_on_a_nodev_filesystem() -> Result<()> {
    let module = serve_initrd()?;
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    let target = Path::new("/mnt/nodev");
    let tmpfs = Mount::with_attributes("tmpfs", Path::new("none"), "", target, nodev)?;
    let node = tmpfs.path().join("node");
    let number = stat(&Device::of(GOOD)?.node)?.st_rdev;
    let number = makedev(rustix::fs::major(number), rustix::fs::minor(number));
    mknodat(
        CWD,
        &node,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o600),
        number,
    )?;
    mount_refused(&node, "dax", Errno::ACCESS, &["nodev"])?;
    tmpfs.unmount()?;
    unload(module)
}

/// What mount(8) cannot say, but mount(2) and fstab can.
fn source_as_an_option() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(GOOD)?.node;
    for data in ["source=NODE,dax", "dax,source=NODE"] {
        let data = data.replace("NODE", &node.display().to_string());
        let mount = Mount::with_data("erofs", None, &data, Path::new("/mnt/option"))?;
        ensure!(mount.path().join("hello").exists());
        let mounts = fs::read_to_string("/proc/mounts")?;
        let shown = format!("{} /mnt/option erofs ro,", node.display());
        ensure!(mounts.contains(&shown), "{mounts}");
        mount.unmount()?;
    }
    unload(module)
}

fn source_not_given() -> Result<()> {
    let module = serve_initrd()?;
    let mut log = KernelLog::from_now()?;
    let refused = Mount::with_data("erofs", None, "dax", Path::new("/mnt/none"));
    ensure!(refused.is_err_and(|errno| errno == Errno::INVAL));
    let said = messages(&mut log)?;
    ensure!(
        said.len() == 1 && said[0].contains("no source given"),
        "{said:?}"
    );
    check_mountable()?;
    unload(module)
}

/// Which one would be meant?
fn source_given_twice() -> Result<()> {
    let module = serve_initrd()?;
    let (node, target) = (Device::of(GOOD)?.node, Path::new("/mnt/twice"));
    let again = format!("source={}", node.display());
    let refused = Mount::with_data("erofs", Some(&node), &again, target);
    ensure!(refused.is_err_and(|errno| errno == Errno::INVAL));
    let error = mount_source(&node, &again, "twice")
        .err()
        .context("mounted")?;
    ensure!(
        error.errno == Errno::INVAL
            && error
                .log
                .iter()
                .any(|line| line.contains("Multiple sources")),
        "{error}"
    );
    check_mountable()?;
    unload(module)
}

fn unknown_option() -> Result<()> {
    let node = "/dev/erodax0";
    check_refused(node, "nonsense", Errno::INVAL, &["nonsense"])?;
    check_refused(node, "dax,nonsense=1", Errno::INVAL, &["nonsense"])
}

fn bad_dax_value() -> Result<()> {
    for value in ["dax=sometimes", "dax=inode", "dax="] {
        check_refused("/dev/erodax0", value, Errno::INVAL, &["dax"])?;
    }
    Ok(())
}

fn two_images_at_once() -> Result<()> {
    let module = serve_initrd()?;
    let (first, second) = (mount(GOOD, "dax")?, mount("second", "dax")?);
    for mount in [&first, &second] {
        ensure!(mount.path().join("hello").exists());
    }
    let device = |mount: &Mount| stat(mount.path()).map(|stat| stat.st_dev);
    ensure!(
        device(&first)? != device(&second)?,
        "two filesystems of one device number"
    );
    first.unmount()?;
    ensure!(second.path().join("hello").exists());
    second.unmount()?;
    unload(module)
}

fn one_image_twice() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(GOOD)?.node;
    let first = mount_source(&node, "dax", "first")?;
    let second = mount_source(&node, "dax=never", "again")?;
    let read = |mount: &Mount| fs::read(mount.path().join("hello"));
    ensure!(read(&first)? == read(&second)?);
    first.unmount()?;
    read(&second)?;
    second.unmount()?;
    unload(module)
}

fn busy_mount_stays() -> Result<()> {
    let module = serve_initrd()?;
    let mount = mount(GOOD, "dax")?;
    let open = File::open(mount.path().join("hello"))?;
    let busy = rustix::mount::unmount(mount.path(), rustix::mount::UnmountFlags::empty());
    ensure!(busy == Err(Errno::BUSY), "{busy:?}");
    drop(open);
    mount.unmount()?;
    unload(module)
}

fn unload_while_mounted() -> Result<()> {
    let module = serve_initrd()?;
    let mount = mount(GOOD, "dax")?;
    let (module, errno) = module
        .remove()
        .err()
        .context("a mounted module can be unloaded")?;
    ensure!(errno == Errno::AGAIN, "{errno:?}");
    fs::read(mount.path().join("hello")).context("after the refused unload")?;
    mount.unmount()?;
    unload(module)
}

fn unload_while_device_is_open() -> Result<()> {
    let module = serve_initrd()?;
    let device = File::open(Device::of(GOOD)?.node)?;
    let (module, errno) = module
        .remove()
        .err()
        .context("a module in use can be unloaded")?;
    ensure!(errno == Errno::AGAIN, "{errno:?}");
    drop(device);
    unload(module)
}

fn mounting_leaks_nothing() -> Result<()> {
    let module = serve_initrd()?;
    check_no_leak(check_mountable)?;
    unload(module)
}
