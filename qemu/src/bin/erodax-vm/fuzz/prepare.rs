// SPDX-License-Identifier: GPL-2.0

//! What the machines boot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_mutants::{
    images::PMEM_SIZE,
    plan::{CARVE_OUT, INPUT, SEEDS},
    Mode, Plan,
};
use erodax_qemu::{
    cache::{cached, Key},
    Environment, InitrdBuilder, Scenario,
};

/// Where the memory for the image is: away from the kernel and the initrd.
const PMEM: u64 = 0x1000_0000;
/// On a busy host, the check of the timer at the start of the kernel takes late interrupts for none.
/// A task that does not come back ends the machine with a trace. Unmounting waits for grace
/// periods, which take most of the time when they are not expedited. What guards against other
/// programs and attackers costs a quarter of the rest, and the guest has neither. Memory that nobody
/// clears shows what was not initialized. Kmemleak looks when it is asked to, which nobody does here;
/// the stock kernel does not have it.
const WORDS: [&str; 11] = [
    "nokaslr",
    "loglevel=3",
    "softlockup_panic=1",
    "hung_task_panic=1",
    "rcupdate.rcu_expedited=1",
    "mitigations=off",
    "lsm=",
    "audit=0",
    "cgroup_disable=memory",
    "init_on_alloc=0",
    "kmemleak=off",
];

/// What to boot for a plan; `input` is an image to use as it is.
pub(super) fn scenario(
    environment: &Environment,
    input: Option<&Path>,
    plan: Plan,
    lane: u64,
) -> Result<Scenario> {
    let mut modules = vec!["libnvdimm", "nd_btt", "nd_pmem", "nd_e820"];
    if plan.mode == Mode::Compare {
        modules.extend(["brd", "erofs"]);
    }
    let kind = plan.mode.name();
    let mut builder = InitrdBuilder::new(environment, &format!("fuzz-{kind}"), "erodax-mutants")?
        .modules(&modules)?
        .erodax()?;
    if let Some(input) = input {
        builder = builder.file(INPUT, input)?;
    } else {
        let mut images: Vec<_> = fs::read_dir(seeds(environment)?)?.collect::<Result<_, _>>()?;
        images.sort_by_key(fs::DirEntry::file_name);
        for image in images {
            let name = image.file_name().to_string_lossy().into_owned();
            builder = builder.file(&format!("{SEEDS}/{name}"), &image.path())?;
        }
    }
    let name = format!("fuzz-{kind}-{lane}");
    let mut scenario = Scenario::new(name, builder.build()?);
    scenario.cmdline = WORDS.map(str::to_owned).to_vec();
    scenario
        .cmdline
        .push(format!("memmap={PMEM_SIZE}!{PMEM:#x}"));
    if plan.mode == Mode::CarveOut {
        scenario.cmdline.push(format!("memmap=16M${CARVE_OUT:#x}"));
    }
    scenario.cmdline.extend(plan.words());
    Ok(scenario)
}

/// The directory of the images that mutants are made of.
pub(super) fn seeds(environment: &Environment) -> Result<PathBuf> {
    let program = environment.statics.join("erodax-seeds");
    let key = Key::new("seeds 1").file(&program)?;
    let made = cached(&environment.cache(), "seeds", &key, |path| {
        let output = Command::new(&program)
            .arg(path)
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "erodax-seeds: {complaints}");
        Ok(())
    })?;
    Ok(made.join("small"))
}
