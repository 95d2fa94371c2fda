// SPDX-License-Identifier: GPL-2.0

//! erodax-init, from the kernel's start to the payload's own programs: boots without the agent,
//! judged by what they say.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{ensure, Context, Result};
use erodax_qemu::{
    cache::{cached, Key},
    payload,
    report::{differences, Report},
    splat, ConsoleBoot, Environment, Scenario,
};

use crate::{
    images::put_archive_before,
    plan::{Host, Job},
    results::reason,
};

const LIMIT: Duration = Duration::from_secs(180);
const PANIC: &str = "Kernel panic - not syncing: Attempted to kill init!";

type BootFn = fn(&Host) -> Result<()>;

const BOOTS: [(&str, BootFn); 5] = [
    ("init::boots_the_payload", boots_the_payload),
    ("init::without_retain_initrd", without_retain_initrd),
    ("init::without_an_image", without_an_image),
    ("init::unaligned_image", unaligned_image),
    (
        "init::unaligned_image_by_copying",
        unaligned_image_by_copying,
    ),
];

pub fn jobs() -> impl Iterator<Item = Job> {
    BOOTS.into_iter().map(|(name, boot)| Job {
        tests: vec![name.to_owned()],
        ignored: None,
        run: Box::new(move |host, _, results| {
            results.set(name, boot(host).map_err(|error| reason(&error)));
        }),
    })
}

fn boot(host: &Host, name: &str, initrd: PathBuf, cmdline: &[&str]) -> Result<ConsoleBoot> {
    let mut scenario = Scenario::new(name, initrd);
    scenario.memory_mib = 1024;
    scenario.cmdline = cmdline.iter().map(|&word| word.to_owned()).collect();
    scenario.boot_limit = LIMIT;
    ConsoleBoot::run(&host.environment, host.accelerator, &scenario, |_| {})
}

/// The payload's init runs in place and finds every file as it was.
fn boots_the_payload(host: &Host) -> Result<()> {
    let initrd = payload::in_place_initrd(&host.environment)?;
    let mut boot = boot(
        host,
        "init-payload",
        initrd,
        &["retain_initrd", "init=/sbin/init"],
    )?;
    if let Some(splat) = boot.console.judge(None)? {
        anyhow::bail!(
            "the kernel complained ({}):\n{splat}",
            boot.console.path().display()
        );
    }
    let report = Report::parse(&boot.output).with_context(|| boot.console.tail())?;
    let wrong = differences(&payload::digests(&host.environment)?, &report.digests);
    ensure!(
        wrong.is_empty(),
        "{} files differ: {:?}",
        wrong.len(),
        wrong.iter().take(10)
    );
    let mounted = |fstype: &str, option: &str| {
        report
            .mounts
            .iter()
            .any(|line| line.contains(fstype) && line.contains(option))
    };
    ensure!(mounted(" erofs ", "dax=always"), "{:?}", report.mounts);
    ensure!(mounted(" / overlay ", "rw"), "{:?}", report.mounts);
    Ok(())
}

fn without_retain_initrd(host: &Host) -> Result<()> {
    let initrd = payload::in_place_initrd(&host.environment)?;
    check_gives_up(&boot(host, "init-freed", initrd, &[])?, &["retain_initrd"])
}

fn without_an_image(host: &Host) -> Result<()> {
    let initrd = payload::initrd_without_image(&host.environment)?;
    let boot = boot(host, "init-no-image", initrd, &["retain_initrd"])?;
    check_gives_up(&boot, &["no EROFS image", "erodax pack"])
}

fn unaligned_image(host: &Host) -> Result<()> {
    let initrd = unaligned_initrd(&host.environment)?;
    let boot = boot(host, "init-unaligned", initrd, &["retain_initrd"])?;
    check_gives_up(&boot, &["4096", "erodax.dax=never"])
}

/// The way out that the message of [`unaligned_image`] names.
fn unaligned_image_by_copying(host: &Host) -> Result<()> {
    let initrd = unaligned_initrd(&host.environment)?;
    let cmdline = ["retain_initrd", "erodax.dax=never", "init=/usr/bin/true"];
    let boot = boot(host, "init-copying", initrd, &cmdline)?;
    let text = boot.console.text()?;
    check_no_splat(&text)?;
    // A program that ends, as PID 1: by its exit code one can tell that it has run.
    let expected = format!("{PANIC} exitcode=0x00000000");
    ensure!(text.contains(&expected), "{}", boot.console.tail());
    Ok(())
}

fn unaligned_initrd(environment: &Environment) -> Result<PathBuf> {
    let aligned = payload::in_place_initrd(environment)?;
    let key = Key::new("unaligned 2").file(&aligned)?;
    cached(
        &environment.cache(),
        "in-place-unaligned.initrd",
        &key,
        |path| {
            fs::copy(&aligned, path)?;
            put_archive_before(path)
        },
    )
}

/// It says what is missing and how to fix it, and then ends the boot for everybody to see.
fn check_gives_up(boot: &ConsoleBoot, words: &[&str]) -> Result<()> {
    let text = boot.console.text()?;
    check_no_splat(&text)?;
    ensure!(text.contains(PANIC), "no panic; {}", boot.console.tail());
    let own: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("erodax-init: "))
        .collect();
    let own = own.join("\n");
    for word in words.iter().chain(&["cannot boot", "to fix it"]) {
        ensure!(own.contains(word), "{word:?} is not said:\n{own}");
    }
    Ok(())
}

/// Nothing else than the panic at the end is complained about.
fn check_no_splat(text: &str) -> Result<()> {
    let before = text.split(PANIC).next().unwrap_or_default();
    match splat::find(before) {
        None => Ok(()),
        Some(splat) => anyhow::bail!("the kernel complained:\n{splat}"),
    }
}
