// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm run`: the same tree booted in place and unpacked, and what that costs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{bail, Context, Result};
use erodax_initrd::{inspect, ImageFacts};
use erodax_qemu::{payload, report::Report, ConsoleBoot, Scenario};

use crate::{show, steps::Steps, Host};

/// Guest memory of both boots: enough to hold the unpacked tree beside its archive.
pub(crate) const MEMORY_MIB: u32 = 1024;

/// For a boot in place: the image's memory kept, and nothing that differs from run to run.
pub(crate) const IN_PLACE: [&str; 2] = ["nokaslr", "retain_initrd"];

/// For a boot that unpacks: as anyone would, the archive's memory is given back.
const UNPACKED: [&str; 1] = ["nokaslr"];

/// Reading all of the payload through an emulated processor takes a while.
const LIMIT: Duration = Duration::from_secs(300);

/// Returns whether everything was as it should be.
pub(crate) fn run(host: &Host) -> Result<bool> {
    let environment = &host.environment;
    let mut steps = Steps::begin("making the initrd with the image in place");
    let initrd = payload::in_place_initrd(environment)?;
    let image = only_image(&initrd)?;
    let expected = payload::digests(environment)?;

    steps.next("booting it in place");
    let in_place = boot(
        host,
        &steps,
        "run-in-place",
        initrd,
        &[&IN_PLACE[..], &["init=/sbin/init"]].concat(),
    )?;

    steps.next("making a plain initramfs of the same tree");
    let initramfs = payload::plain_initrd(environment)?;
    steps.next("booting the plain initramfs");
    let unpacked = boot(
        host,
        &steps,
        "run-unpacked",
        initramfs,
        &[&UNPACKED[..], &["rdinit=/sbin/init"]].concat(),
    )?;
    steps.end();

    Ok(show::show(&show::Outcome {
        accelerator: host.accelerator.name(),
        image,
        expected,
        in_place,
        unpacked,
    }))
}

fn only_image(initrd: &Path) -> Result<ImageFacts> {
    let mut images = inspect(initrd)?.images;
    match (images.pop(), images.is_empty()) {
        (Some(image), true) => Ok(image),
        _ => bail!("{} has not one image", initrd.display()),
    }
}

fn boot(
    host: &Host,
    steps: &Steps,
    name: &str,
    initrd: PathBuf,
    cmdline: &[&str],
) -> Result<Report> {
    let mut scenario = Scenario::new(name, initrd);
    scenario.memory_mib = MEMORY_MIB;
    scenario.cmdline = cmdline.iter().map(|&word| word.to_owned()).collect();
    scenario.boot_limit = LIMIT;
    let watch = |output: &str| match Report::files_so_far(output) {
        0 => {}
        files => steps.detail(&format!("{files} files read")),
    };
    let mut boot = ConsoleBoot::run(&host.environment, host.accelerator, &scenario, watch)?;
    if let Some(splat) = boot.console.judge(None)? {
        bail!(
            "the kernel complained ({}):\n{splat}",
            boot.console.path().display()
        );
    }
    Report::parse(&boot.output).with_context(|| boot.console.tail())
}
