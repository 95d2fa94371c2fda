// SPDX-License-Identifier: GPL-2.0

//! The guest tests: what runs inside the VMs, and the declarations of the VMs and images that
//! the host makes for them. One registry serves both sides: the host lists the tests from it,
//! the guest runs them.

mod beside;
mod cgroup;
mod compare;
mod erodax;
pub mod expectation;
pub mod image;
mod kinds;
mod ktap;
mod probe;
mod process;
mod programs;
pub mod suites;

use std::fs;

use anyhow::{Context, Result};
use erodax_agent::guest::TestFn;
use image::Image;

/// Tests that share a VM.
#[derive(Debug)]
pub struct Suite {
    /// First part of its tests' names.
    pub name: &'static str,
    /// The VM.
    pub machine: Machine,
    /// What runs in it, in this order.
    pub tests: &'static [Test],
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// Second part of its name.
    pub name: &'static str,
    /// Its body, which runs in a process of its own in the guest.
    pub run: TestFn,
    /// Time limit in seconds.
    pub limit: u64,
    /// What must come out.
    pub expect: Expect,
}

/// A test's expected outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The test passes.
    Pass,
    /// The harness must fail the test, with this text in the reason: the harness's own tests.
    Failure(&'static str),
}

/// The VM of a suite.
#[derive(Debug)]
pub struct Machine {
    /// Guest memory.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Kernel parameters, after those of every boot.
    pub cmdline: &'static [&'static str],
    /// Modules of the distribution's kernel that the tests load.
    pub modules: &'static [&'static str],
    /// Images in the initrd.
    pub images: &'static [Image],
    /// Whether a microcode archive precedes the initrd, the way `cat` would put it there: the
    /// images begin [`image::UNALIGNED_BY`] bytes into a page then.
    pub prefixed: bool,
    /// Memory of a virtio-pmem device; 0 for none.
    pub virtio_pmem_mib: u32,
    /// Whether erodax.ko is in the initrd.
    pub erodax: bool,
    /// Whether only the debug kernel can run the tests: on others they are ignored.
    pub needs_debug_kernel: bool,
    /// Whether only the stock kernel can run the tests: its own driver is given what the debug
    /// kernel's stops at.
    pub needs_stock_kernel: bool,
}

impl Machine {
    /// A small machine that keeps its initrd.
    pub const RETAINING: Self = Self {
        memory_mib: 512,
        cpus: 1,
        cmdline: &["retain_initrd"],
        modules: &[],
        images: &[],
        prefixed: false,
        virtio_pmem_mib: 0,
        erodax: true,
        needs_debug_kernel: false,
        needs_stock_kernel: false,
    };
}

impl Test {
    const LIMIT: u64 = 120;

    const fn new(name: &'static str, run: TestFn) -> Self {
        Self {
            name,
            run,
            limit: Self::LIMIT,
            expect: Expect::Pass,
        }
    }
}

/// A list of tests from functions of the same names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$($crate::Test::new(stringify!($name), $name)),*] };
}
use tests;

/// The kernel parameter that says how many seconds the stress tests last.
pub const STRESS_PARAMETER: &str = "erodax_test.stress";

/// How many seconds they last without it.
const STRESS_SECONDS: u64 = 15;

fn stress_seconds() -> Result<u64> {
    Ok(parameter(STRESS_PARAMETER)?.unwrap_or(STRESS_SECONDS))
}

/// The kernel parameter that says how often the module is loaded, used and unloaded in search of
/// leaks.
pub const CYCLES_PARAMETER: &str = "erodax_test.cycles";

/// The number in a kernel parameter, if it was given.
fn parameter(name: &str) -> Result<Option<u64>> {
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let mut words = cmdline.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = value.map(|value| value.parse().with_context(|| format!("{name}={value}")));
    number.transpose()
}

/// A test's body, or what a test starts as a program of its own.
pub fn find(suite: &str, test: &str) -> Option<TestFn> {
    programs::find(suite, test).or_else(|| find_test(suite, test))
}

fn find_test(suite: &str, test: &str) -> Option<TestFn> {
    let suite = suites::ALL
        .iter()
        .find(|candidate| candidate.name == suite)?;
    Some(
        suite
            .tests
            .iter()
            .find(|candidate| candidate.name == test)?
            .run,
    )
}

#[cfg(test)]
mod unit {
    use std::collections::BTreeSet;

    use super::suites::ALL;

    #[test]
    fn names_are_unique() {
        let mut names = BTreeSet::new();
        for suite in ALL {
            for test in suite.tests {
                assert!(
                    names.insert((suite.name, test.name)),
                    "{}::{} twice",
                    suite.name,
                    test.name
                );
            }
        }
    }

    #[test]
    fn images_of_a_suite_have_names_of_their_own() {
        for suite in ALL {
            let names: Vec<_> = suite
                .machine
                .images
                .iter()
                .map(|image| image.name)
                .collect();
            let unique: BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{}: {names:?}", suite.name);
        }
    }
}
