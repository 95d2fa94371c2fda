// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm shell`: looking around in the payload.

use anyhow::{ensure, Result};
use erodax_qemu::{payload, Machine, Port, Scenario};

use crate::{
    run::{IN_PLACE, MEMORY_MIB},
    steps::Steps,
    Host,
};

/// A shell with a terminal of its own, so that Ctrl-C works; the VM ends with it.
const INIT: &str = "init=/bin/sh -- -c \"setsid -c -w bash -l <>/dev/ttyS0 >&0 2>&1; \
                    echo o >/proc/sysrq-trigger; sleep 9\"";

pub(crate) fn shell(host: &Host) -> Result<bool> {
    let steps = Steps::begin("making the initrd with the image in place");
    let mut scenario = Scenario::new("shell", payload::in_place_initrd(&host.environment)?);
    steps.end();
    scenario.memory_mib = MEMORY_MIB;
    scenario.cmdline = IN_PLACE
        .iter()
        .chain(&["quiet", INIT])
        .map(|&word| word.to_owned())
        .collect();

    eprintln!("To leave, press Ctrl-A X, or end the shell.");
    let mut machine = Machine::spawn(
        &host.environment,
        &scenario,
        host.accelerator,
        &Port::Terminal,
        None,
        None,
    )?;
    let status = machine.wait_for_user()?;
    ensure!(status.success(), "QEMU: {status}: {}", machine.complaints());
    Ok(true)
}
