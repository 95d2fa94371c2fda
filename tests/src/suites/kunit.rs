// SPDX-License-Identifier: GPL-2.0

//! The module's own KUnit suites, which run when it is loaded.

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::kmsg::KernelLog;

use crate::{erodax::load, ktap, tests, Machine, Suite};

pub(super) static SUITE: Suite = Suite {
    name: "kunit",
    machine: Machine {
        needs_debug_kernel: true,
        // Off in all other guests; without the suites that the kernel itself has.
        cmdline: &[
            "kunit.enable=1",
            "kunit.autorun=1",
            "kunit.filter_glob=erodax_*",
        ],
        ..Machine::RETAINING
    },
    tests: tests![regions, decoders, lz4, mount],
};

/// Loads the module and checks what its suite of this name says.
fn check(name: &str) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let _module = load("")?;
    let lines = log.lines()?;
    let suites = ktap::parse(lines.iter().map(String::as_str))?;
    let suite = suites.iter().find(|suite| suite.name == name);
    let suite = suite.with_context(|| format!("no suite {name} in {suites:?}"))?;
    ensure!(suite.other.is_empty(), "{suite:?}\n{}", lines.join("\n"));
    Ok(())
}

fn regions() -> Result<()> {
    check("erodax_regions")
}

fn decoders() -> Result<()> {
    check("erodax_decoders")
}

fn lz4() -> Result<()> {
    check("erodax_lz4")
}

fn mount() -> Result<()> {
    check("erodax_mount")
}
