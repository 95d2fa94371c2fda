// SPDX-License-Identifier: GPL-2.0

//! The module is to go while somebody uses it, or just begins to.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Mapping, PAGE},
    module::{self, Module},
    system::Child,
};
use rustix::io::Errno;

use crate::{
    erodax::{check_usable, load, mount, mount_source, serve_initrd, unload, Device, GOOD, MOUNTS},
    image::HELLO,
    stress_seconds,
    suites::zoo,
};

/// `EROFS_SUPER_MAGIC_V1` and where an image has it.
const MAGIC: (u64, [u8; 4]) = (1024, 0xe0f5_e1e2_u32.to_le_bytes());

/// Unloading must be refused as long as `user` exists, and possible afterwards.
fn check_holds<U>(module: Module, what: &str, user: U) -> Result<()> {
    let (module, errno) = module.remove().err().context(what.to_owned())?;
    ensure!(errno == Errno::AGAIN, "{what}: {errno:?}");
    drop(user);
    unload(module).with_context(|| what.to_owned())
}

pub(super) fn held_by_all_uses() -> Result<()> {
    let module = serve_initrd()?;
    check_holds(module, "open", File::open(Device::of(GOOD)?.node)?)?;

    let module = serve_initrd()?;
    let map = Mapping::read_only(File::open(Device::of(GOOD)?.node)?, PAGE)?;
    check_holds(module, "mapped", map)?;

    let module = serve_initrd()?;
    check_holds(module, "mounted", mount(GOOD, "dax")?)?;

    let module = serve_initrd()?;
    let detached = mount(GOOD, "dax")?;
    let file = File::open(detached.path().join("hello"))?;
    detached.detach()?;
    check_holds(module, "open in a detached mount", file)?;

    // An attribute holds nothing, and has nothing to say any more.
    let module = serve_initrd()?;
    let mut attribute = File::open("/sys/class/erodax/erodax0/size")?;
    unload(module)?;
    let read = attribute.read(&mut [0; 16]);
    let read = read.map_err(|error| Errno::from_io_error(&error));
    ensure!(read == Err(Some(Errno::NODEV)), "an attribute: {read:?}");
    Ok(())
}

/// Nobody can open a device of a module that does not come to be loaded: it would go below them.
pub(super) fn fails_to_load() -> Result<()> {
    const TIMES: usize = 30;
    let stock = module::load("erofs")?;
    let node = Path::new("/dev/erodax0");
    let over = Path::new("/tmp/over");
    let watcher = Child::start(|| {
        while !over.exists() {
            ensure!(!node.exists(), "{} is there", node.display());
        }
        Ok(())
    })?;
    for _ in 0..TIMES {
        let refused = load("region=initrd").err();
        ensure!(refused == Some(Errno::BUSY), "{refused:?}");
    }
    fs::write(over, "")?;
    let status = watcher.wait()?;
    ensure!(status.success(), "{status}");
    drop(stock);
    check_usable()
}

/// A user who comes at any time and finds the module or does not. Returns whether it did.
type User = fn() -> Result<bool>;

/// How long a user has what it found, at least: somebody else tries to unload the module then.
const HELD: Duration = Duration::from_millis(2);

const USERS: [(&str, User); 4] = [
    ("device", use_device),
    ("attributes", use_attributes),
    ("mount", use_mount),
    ("parameters", use_parameters),
];

/// Loads and unloads the module while others use whatever they find of it.
pub(super) fn while_used() -> Result<()> {
    // However slow the machine is.
    const LEAST: u64 = 6;
    let over = Path::new("/tmp/unloaded-enough");
    let users = USERS
        .iter()
        .map(|(name, user)| Ok((*name, Child::start(|| keep_using(name, *user, over))?)))
        .collect::<Result<Vec<_>>>()?;
    let end = Instant::now() + Duration::from_secs(stress_seconds()?);
    let mut times = 0;
    while times < LEAST || Instant::now() < end {
        let module = serve_initrd()?;
        // For as long as some of them take, or not at all.
        thread::sleep(Duration::from_millis(times % 8 * 10));
        unload_in_the_end(module)?;
        times += 1;
    }
    fs::write(over, "")?;
    for (name, user) in users {
        let status = user.wait()?;
        ensure!(status.success(), "{name}: {status}");
    }
    println!("loaded {times} times");
    check_usable()
}

fn unload_in_the_end(mut module: Module) -> Result<()> {
    loop {
        match module.remove() {
            Ok(()) => return Ok(()),
            Err((still, Errno::AGAIN)) => module = still,
            Err((_, errno)) => return Err(errno).context("rmmod"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Until there is a file `over`.
fn keep_using(name: &str, user: User, over: &Path) -> Result<()> {
    let (mut found, mut missed) = (0, 0);
    while !over.exists() {
        match user().with_context(|| name.to_owned())? {
            true => found += 1,
            false => missed += 1,
        }
        // Without pauses somebody would always hold the module, and nobody could load it.
        thread::sleep(Duration::from_millis(3));
    }
    println!("{name}: found {found} times, missed {missed} times");
    ensure!(found > 0 && missed > 0, "{name}: {found}, {missed}");
    Ok(())
}

fn use_device() -> Result<bool> {
    let Ok(file) = File::open("/dev/erodax0") else {
        return Ok(false);
    };
    // The module stays from here on, however long this takes.
    thread::sleep(HELD);
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, MAGIC.0)?;
    ensure!(magic == MAGIC.1, "{magic:x?}");
    let map = Mapping::read_only(&file, PAGE)?;
    drop(file);
    thread::sleep(HELD);
    ensure!(map.bytes()[usize::try_from(MAGIC.0)?..].starts_with(&MAGIC.1));
    Ok(true)
}

fn use_attributes() -> Result<bool> {
    // Between one attribute and the next all of them may go.
    let Ok(devices) = Device::all() else {
        return Ok(false);
    };
    Ok(devices.iter().any(|device| device.name == zoo::PLAIN.name))
}

fn use_mount() -> Result<bool> {
    let node = Path::new("/dev/erodax0");
    let Ok(mounted) = mount_source(node, "dax", "unloading") else {
        return Ok(false);
    };
    thread::sleep(HELD);
    let text = fs::read_to_string(mounted.path().join("hello"))?;
    ensure!(text == HELLO, "{text:?}");
    let mut shown = fs::read_dir(MOUNTS)?;
    ensure!(shown.next().is_some(), "no directory in {MOUNTS}");
    mounted.unmount()?;
    Ok(true)
}

fn use_parameters() -> Result<bool> {
    let Ok(region) = fs::read_to_string("/sys/module/erodax/parameters/region") else {
        return Ok(false);
    };
    ensure!(region.is_empty() || region == "initrd\n", "{region:?}");
    Ok(true)
}
