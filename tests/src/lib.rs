// SPDX-License-Identifier: GPL-2.0

//! The guest tests: what runs inside the VMs, and the declarations of the VMs and images that
//! the host makes for them. One registry serves both sides: the host lists the tests from it,
//! the guest runs them.

mod beside;
mod compare;
mod erodax;
pub mod expectation;
pub mod image;
pub mod suites;

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
    /// Whether erodax.ko is in the initrd.
    pub erodax: bool,
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
        erodax: true,
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

/// A test's body.
pub fn find(suite: &str, test: &str) -> Option<TestFn> {
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
