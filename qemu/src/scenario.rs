// SPDX-License-Identifier: GPL-2.0

//! What is booted, as plain data.

use std::{path::PathBuf, time::Duration};

/// The kernel parameters of every boot. `panic=-1` together with QEMU's `-no-reboot` ends the VM
/// at once on a panic; the crypto self-tests would otherwise run in the background for seconds;
/// a busy host's emulated timer comes too late for the kernel, which gives up then; and the markers
/// that the agent logs must not be rate-limited away.
const BASE: [&str; 5] = [
    "console=ttyS0",
    "panic=-1",
    "cryptomgr.notests=1",
    "no_timer_check",
    "printk.devkmsg=on",
];

/// What the debug kernel gets beside those: each of its steps takes longer, and on a busy host a
/// processor that waits for its turn for 20 seconds counts as hung otherwise, or a task of low priority
/// that the others keep from its end. 120 seconds are the most for a processor.
const DEBUG: [&str; 2] = ["watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=120"];

/// One virtual machine.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names the log file.
    pub name: String,
    /// Guest memory.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory of a virtio-pmem device; 0 for none.
    pub virtio_pmem_mib: u32,
    /// Kernel parameters, after those of every boot.
    pub cmdline: Vec<String>,
    /// The initrd.
    pub initrd: PathBuf,
    /// Files that lie in the guest's memory, by their physical addresses: `memmap=` on the command
    /// line keeps the kernel from using that memory for something else.
    pub ram_files: Vec<(u64, PathBuf)>,
    /// How long it may take until the agent, or whatever is waited for, is there.
    pub boot_limit: Duration,
}

impl Scenario {
    /// A machine of one CPU and 512 MiB.
    pub fn new(name: impl Into<String>, initrd: PathBuf) -> Self {
        Self {
            name: name.into(),
            memory_mib: 512,
            cpus: 1,
            virtio_pmem_mib: 0,
            cmdline: Vec::new(),
            initrd,
            ram_files: Vec::new(),
            boot_limit: Duration::from_secs(120),
        }
    }

    /// The kernel command line, that of the debug kernel or of another one.
    pub fn command_line(&self, debug: bool) -> String {
        let debug: &[&str] = if debug { &DEBUG } else { &[] };
        BASE.iter()
            .chain(debug)
            .copied()
            .chain(self.cmdline.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_follow_those_of_every_boot() {
        let mut scenario = Scenario::new("x", PathBuf::from("/initrd"));
        scenario.cmdline = vec!["retain_initrd".into(), "nokaslr".into()];
        for debug in [false, true] {
            let line = scenario.command_line(debug);
            assert!(line.starts_with("console=ttyS0 panic=-1 "), "{line}");
            assert!(line.ends_with(" retain_initrd nokaslr"), "{line}");
            assert_eq!(line.contains(" watchdog_thresh="), debug, "{line}");
        }
    }
}
