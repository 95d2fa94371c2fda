// SPDX-License-Identifier: GPL-2.0

//! What a machine is to do, as words of its kernel command line: another plan needs no other
//! initrd.

use anyhow::{Context, Result};

/// Where the guest finds the images that mutants are made of.
pub const SEEDS: &str = "/seeds";
/// Where it finds an image that is to be used as it is, if there is one.
pub const INPUT: &str = "/input";

/// Where the memory begins that the kernel is told not to use, for [`Mode::CarveOut`]: 16 MiB.
pub const CARVE_OUT: u64 = 0x1800_0000;

const MODE: &str = "mutants.mode=";
const FIRST: &str = "mutants.first=";
const COUNT: &str = "mutants.count=";

/// Whom mutants are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// erodax alone, with whatever mount options the seed says.
    Erodax,
    /// The same, and the images lie in a carve-out instead of on a pmem device.
    CarveOut,
    /// The kernel's own EROFS twice, and erodax, whose answers are compared.
    Compare,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Erodax, Self::CarveOut, Self::Compare];

    /// What it is called on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erodax => "erodax",
            Self::CarveOut => "carve-out",
            Self::Compare => "compare",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A machine's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whom.
    pub mode: Mode,
    /// The first mutant's seed; the next ones follow it.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Plan {
    /// Its words on the kernel command line.
    pub fn words(&self) -> Vec<String> {
        vec![
            format!("{MODE}{}", self.mode.name()),
            format!("{FIRST}{}", self.first),
            format!("{COUNT}{}", self.count),
        ]
    }

    /// Finds it on a kernel command line.
    ///
    /// # Errors
    /// When a word is missing or wrong.
    pub fn parse(cmdline: &str) -> Result<Self> {
        let value = |name: &str| {
            let mut words = cmdline.split_whitespace();
            let found = words.find_map(|word| word.strip_prefix(name));
            found.with_context(|| format!("no {name} on the kernel command line"))
        };
        Ok(Self {
            mode: Mode::of(value(MODE)?).context("an unknown mode")?,
            first: value(FIRST)?.parse().context(FIRST)?,
            count: value(COUNT)?.parse().context(COUNT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_survive_the_command_line() {
        for mode in Mode::ALL {
            let plan = Plan {
                mode,
                first: u64::MAX,
                count: 7,
            };
            let cmdline = format!("console=ttyS0 {} quiet\n", plan.words().join(" "));
            assert_eq!(Plan::parse(&cmdline).unwrap(), plan);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Plan::parse("mutants.mode=erodax mutants.first=1").unwrap_err();
        assert!(error.to_string().contains(COUNT), "{error}");
        assert!(Plan::parse("mutants.mode=x mutants.first=1 mutants.count=1").is_err());
        assert!(Plan::parse("mutants.mode=erodax mutants.first=-1 mutants.count=1").is_err());
    }
}
