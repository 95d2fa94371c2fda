// SPDX-License-Identifier: GPL-2.0

//! Which of QEMU's accelerators to use.

use std::{env, fs, path::Path, time::Duration};

use anyhow::{bail, Result};

use crate::{
    cache::{cached, Key},
    Console, Environment, Machine, Port, Scenario,
};

/// A kernel without an initrd panics after a second or two when KVM works. Where it does not, the
/// device node may exist all the same, and QEMU aborts or spins for ever.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What such a kernel says at the end of its boot.
const BOOTED: &str = "VFS: Unable to mount root fs";

/// How guest code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By translation: works everywhere.
    Tcg,
    /// By the host's processor.
    Kvm,
    /// By translation, with a clock that advances by a nanosecond with each instruction: for one
    /// CPU, and the same each time.
    Counting(Strings),
}

/// How a machine with [`Accelerator::Counting`] moves memory in bulk: the kernel chooses by what
/// the processor says it is good at, and each repetition counts as an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// Eight bytes at a time.
    Words,
    /// Byte by byte.
    Bytes,
}

impl Accelerator {
    /// The one that `ERODAX_ACCEL` names, else KVM if a short boot of this kernel on this machine
    /// has shown that it works, else TCG.
    ///
    /// # Errors
    /// For an unknown name, or when the probe cannot be made.
    pub fn choose(environment: &Environment) -> Result<Self> {
        match env::var("ERODAX_ACCEL").as_deref() {
            Ok("tcg") => Ok(Self::Tcg),
            Ok("kvm") => Ok(Self::Kvm),
            Ok(other) => bail!("ERODAX_ACCEL={other:?} is neither `tcg` nor `kvm`"),
            Err(_) if !can_open(Path::new("/dev/kvm")) => Ok(Self::Tcg),
            Err(_) => Self::probed(environment),
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "TCG",
            Self::Kvm => "KVM",
            Self::Counting(_) => "TCG, counting instructions",
        }
    }

    /// QEMU's arguments.
    ///
    /// A counted machine has page tables of four levels, as most have that the kernel meets, and is
    /// of a family whose `rep` instructions the kernel trusts, older than those that need
    /// mitigations of their own.
    ///
    /// The debug kernel has four levels, too: while it identifies its first processor it believes
    /// that there are no five, and KASAN finds the addresses wild that an interrupt uses just then.
    pub(crate) fn arguments(self, environment: &Environment) -> Vec<String> {
        let cpu = if environment.debug {
            "max,la57=off"
        } else {
            "max"
        };
        let arguments = |accelerator: &str, cpu: &str| {
            ["-accel", accelerator, "-cpu", cpu]
                .map(str::to_owned)
                .to_vec()
        };
        match self {
            Self::Tcg => arguments("tcg,thread=multi", cpu),
            Self::Kvm => arguments("kvm", cpu),
            Self::Counting(strings) => {
                let strings = match strings {
                    Strings::Words => "-erms",
                    Strings::Bytes => "+erms",
                };
                let cpu = format!("max,la57=off,family=20,model=2,-fsrm,{strings}");
                let mut arguments = arguments("tcg", &cpu);
                arguments.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
                arguments
            }
        }
    }

    fn probed(environment: &Environment) -> Result<Self> {
        // The answer depends on the kernel, and on the machine: a cache may move to another one.
        let key = Key::new("kvm probe 1")
            .file(&environment.kernel_image)?
            .text(&machine_identity());
        let answer = cached(&environment.cache(), "kvm-works", &key, |path| {
            let answer = if probe(environment)? { "yes" } else { "no" };
            Ok(fs::write(path, answer)?)
        })?;
        Ok(if fs::read_to_string(answer)? == "yes" {
            Self::Kvm
        } else {
            Self::Tcg
        })
    }
}

fn can_open(device: &Path) -> bool {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .is_ok()
}

fn machine_identity() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first_cpu = cpuinfo.split("\n\n").next().unwrap_or_default();
    let stable = |line: &&str| line.starts_with("model name") || line.starts_with("flags");
    let kernel = fs::read_to_string("/proc/version").unwrap_or_default();
    first_cpu
        .lines()
        .filter(stable)
        .chain([kernel.trim()])
        .collect::<Vec<_>>()
        .join("\n")
}

fn probe(environment: &Environment) -> Result<bool> {
    let mut scenario = Scenario::new("kvm-probe", "".into());
    scenario.memory_mib = 256;
    let log = environment.logs().join("kvm-probe.log");
    fs::write(&log, "")?;
    let mut machine = Machine::spawn(
        environment,
        &scenario,
        Accelerator::Kvm,
        &Port::File(&log),
        None,
        None,
    )?;
    machine.wait(PROBE_LIMIT)?;
    drop(machine);
    Ok(Console::new(log).text()?.contains(BOOTED))
}
