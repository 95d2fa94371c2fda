// SPDX-License-Identifier: GPL-2.0

//! Where attacks take place: memory that the kernel does not use, with an image that is wrong, bytes
//! behind it that nobody may see, and a good image elsewhere.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{module::Module, mount::Mount};
use erodax_mutation::edit::Edit;
use rustix::io::Errno;

use super::{ask::ask, images, Answers, Attack, Row};
use crate::{
    compare::mistakes::Answer,
    erodax::{
        check_no_leak, expectation, load, mount_source, serve_initrd, unload, Device, Footprint,
        GOOD,
    },
    image::HELLO,
};

/// Where the wrong image is.
const ADDRESS: u64 = 0x2000_0000;
/// Where a good one is.
const GOOD_ADDRESS: u64 = 0x2800_0000;

/// Both are carved out; then there is memory for pmem. The initrd lies behind them. What is mounted
/// may be written to, which kernels without BLK_DEV_WRITE_MOUNTED forbid otherwise.
pub(super) const CMDLINE: &[&str] = &[
    "retain_initrd",
    "memmap=64M$0x20000000",
    "memmap=16M$0x28000000",
    "memmap=96M!0x30000000",
    "bdev_allow_write_mounted=1",
];
pub(super) const MEMORY_MIB: u32 = 1280;

/// What is repeated behind the image.
pub(super) const MARKER: [u8; 16] = *b"behind the image";
/// Bytes of memory that are filled with it.
const BEHIND: usize = 1 << 20;

/// What erodax is mounted with: in place, and through the page cache.
const OPTIONS: [&str; 2] = ["", "dax=never"];

/// The images that attacks are made of, in a form that outlives the module.
pub(super) fn bytes_of(image: &str) -> Result<Vec<u8>> {
    const KEPT: &str = "/tmp/attacked";
    let path = Path::new(KEPT).join(image);
    if !path.exists() {
        fs::create_dir_all(KEPT)?;
        let module = serve_initrd()?;
        for image in &images::ALL {
            let bytes = fs::read(Device::of(image.name)?.node)?;
            fs::write(Path::new(KEPT).join(image.name), bytes)?;
        }
        unload(module)?;
    }
    Ok(fs::read(path)?)
}

impl Attack {
    /// The wrong image.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut image = Edit::open(bytes_of(self.image.name)?)?;
        (self.change)(&mut image).context("no such image can be made")?;
        Ok(image.finish())
    }

    /// The digests of the good image's files.
    pub(super) fn digests(&self) -> Result<HashMap<PathBuf, String>> {
        let entries = expectation(self.image.name)?.into_iter();
        let digest = |entry: crate::expectation::Entry| {
            let path = entry.path().to_owned();
            Some((path, entry.sha256?))
        };
        Ok(entries.filter_map(digest).collect())
    }
}

/// Loads the module with these bytes and the good image, each a device.
pub(super) fn serve(image: &[u8]) -> Result<Module> {
    let good = bytes_of(GOOD)?;
    let memory = File::options().write(true).open("/dev/mem")?;
    let behind: Vec<u8> = MARKER.iter().copied().cycle().take(BEHIND).collect();
    memory.write_all_at(&[image, &behind].concat(), ADDRESS)?;
    memory.write_all_at(&good, GOOD_ADDRESS)?;
    let [size, good_size] = [image.len(), good.len()];
    let regions = format!("region={ADDRESS:#x},{size},{GOOD_ADDRESS:#x},{good_size}");
    load(&regions).with_context(|| format!("insmod with {regions}"))
}

/// What [`serve`] makes of the wrong image.
pub(super) const NODE: &str = "/dev/erodax0";

/// The good image can be used, and the module unloaded.
pub(super) fn end(module: Module) -> Result<()> {
    let mount = mount_source(Path::new("/dev/erodax1"), "dax", GOOD).context("the good image")?;
    let text = fs::read_to_string(mount.path().join("hello"))?;
    ensure!(text == HELLO, "{text:?}");
    mount.unmount()?;
    unload(module)
}

/// Every attack of a row, and that nothing of it is left.
pub(super) fn run((name, attacks): Row) -> Result<()> {
    bytes_of(GOOD)?;
    let before = Footprint::now()?;
    let mut wrong = Vec::new();
    for attack in attacks {
        if let Err(error) = against_erodax(attack) {
            wrong.push(format!("{name}: {}: {error:#}", attack.what));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    before.check()
}

fn against_erodax(attack: &Attack) -> Result<()> {
    let module = serve(&attack.bytes()?)?;
    for options in OPTIONS {
        let mounted = mount_source(Path::new(NODE), options, "attack");
        let root = mounted.as_ref().map(Mount::path);
        let root = root.map_err(|error| error.errno);
        check(attack, &attack.answers, root, |answer| answer)
            .with_context(|| format!("mounted with {options:?}"))?;
    }
    end(module)
}

/// Compares what a driver answers, whose answers about data `adapt` translates.
pub(super) fn check(
    attack: &Attack,
    expected: &Answers,
    root: Result<&Path, Errno>,
    adapt: fn(Answer<Vec<u8>>) -> Answer<Vec<u8>>,
) -> Result<()> {
    match (expected, root) {
        (Answers::Refused(expected), Err(found)) => {
            ensure!(*expected == found, "refused: {found:?}, not {expected:?}");
        }
        (Answers::Refused(_), Ok(_)) => bail!("mounted"),
        (Answers::Mounted(_), Err(found)) => bail!("refused: {found:?}"),
        (Answers::Mounted(questions), Ok(root)) => {
            let digests = attack.digests()?;
            let mut wrong = Vec::new();
            for (path, question, expected) in *questions {
                let answer = adapt(ask(&root.join(path), *question)?);
                let digest = digests.get(Path::new(path)).map(String::as_str);
                if let Err(found) = expected.check(&answer, digest) {
                    wrong.push(format!("{question:?} of {path}: {found}, not {expected:?}"));
                }
            }
            ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
    Ok(())
}

/// The first attack of each row, again and again: no memory is lost.
pub(super) fn leaks_nothing() -> Result<()> {
    /// Those that come first in the tables fail in the row's own way.
    const QUESTIONS: usize = 2;
    for (name, attacks) in super::ROWS {
        let attack = attacks.first().context("an empty row")?;
        let module = serve(&attack.bytes()?)?;
        check_no_leak(|| {
            let mounted = mount_source(Path::new(NODE), "", "attack");
            if let (Ok(mount), Answers::Mounted(questions)) = (mounted, &attack.answers) {
                for (path, question, _) in questions.iter().take(QUESTIONS) {
                    drop(ask(&mount.path().join(path), *question)?);
                }
                mount.unmount()?;
            }
            Ok(())
        })
        .with_context(|| format!("{name}: {}", attack.what))?;
        end(module)?;
    }
    Ok(())
}
