// SPDX-License-Identifier: GPL-2.0

//! A machine that sleeps while images are in use.

use std::{fs, fs::File, io::Read, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::{Mapping, PAGE};

use crate::{
    erodax::{check_mountable, expectation, mount, serve_initrd, unload, GOOD},
    programs::Answering,
    suites::{
        compressed::{self, check_all},
        zoo,
    },
};

const SECONDS: u32 = 2;
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
const SUCCESSES: &str = "/sys/power/suspend_stats/success";

/// Mappings, half of whose pages are there, open files, a running program and mounts are what they
/// were.
pub(super) fn to_ram() -> Result<()> {
    let module = serve_initrd()?;
    let program = mount(super::PROGRAM.name, "dax")?;
    let direct = mount(zoo::PLAIN.name, "dax")?;
    let decoded = mount(compressed::LZ4_LARGE.name, "")?;
    let mut running = Answering::start(program.path())?;
    running.ask(3)?;
    running.check_answer(3)?;
    let mut used = Vec::new();
    for path in [
        direct.path().join("big"),
        decoded.path().join("mixed/large"),
    ] {
        let whole = fs::read(&path)?;
        let mut file = File::open(&path)?;
        let mut first = vec![0; whole.len() / 2];
        file.read_exact(&mut first)?;
        let map = Mapping::read_only(&file, whole.len())?;
        ensure!(map.bytes()[..first.len()] == first, "before");
        used.push((whole, file, map));
    }

    sleep()?;

    for (whole, mut file, map) in used {
        ensure!(map.bytes()[..whole.len()] == whole, "what was mapped");
        map.refault(0..whole.len() / PAGE * PAGE)?;
        ensure!(map.bytes()[..whole.len()] == whole, "what is mapped anew");
        let mut rest = Vec::new();
        file.read_to_end(&mut rest)?;
        ensure!(rest == whole[whole.len() / 2..], "what was left to read");
    }
    running.ask(4)?;
    running.check_answer(4)?;
    running.end()?;
    for (mounted, image) in [
        (direct, zoo::PLAIN.name),
        (decoded, compressed::LZ4_LARGE.name),
    ] {
        check_all(mounted.path(), &expectation(image)?)?;
        mounted.unmount()?;
    }
    program.unmount()?;
    check_mountable().context(GOOD)?;
    unload(module)
}

/// Suspends to RAM, until the clock wakes the machine up. (Emulated clocks do not wake one that is
/// only idle.)
fn sleep() -> Result<()> {
    let before = successes()?;
    ensure!(Path::new(ALARM).exists(), "no clock that can wake: {ALARM}");
    fs::write(ALARM, "0")?;
    fs::write(ALARM, format!("+{SECONDS}")).context(ALARM)?;
    fs::write("/sys/power/mem_sleep", "deep").context("/sys/power/mem_sleep")?;
    fs::write("/sys/power/state", "mem").context("/sys/power/state")?;
    ensure!(successes()? == before + 1, "was not suspended");
    Ok(())
}

fn successes() -> Result<u32> {
    let text = fs::read_to_string(SUCCESSES).context(SUCCESSES)?;
    Ok(text.trim().parse()?)
}
