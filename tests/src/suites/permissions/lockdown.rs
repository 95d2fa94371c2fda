// SPDX-License-Identifier: GPL-2.0

//! Kernel lockdown, which keeps root from choosing memory by its address. The stock kernel loads no
//! unsigned module then, so lockdown comes when the signature was looked at and the parameters
//! were not.

use std::fs;

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{kmsg::KernelLog, module::Module, mount::Mount};
use rustix::io::Errno;

use crate::erodax::{
    check_mountable, image_range, load, messages, unload, Device, Footprint, GOOD,
};

/// Cannot be undone.
fn lock_down() -> Result<()> {
    const FOLDER: &str = "/sys/kernel/security";
    let security = Mount::new("securityfs", "none", "", FOLDER)?;
    let file = security.path().join("lockdown");
    fs::write(&file, "integrity").context("the kernel has no lockdown")?;
    let state = fs::read_to_string(&file)?;
    ensure!(state.contains("[integrity]"), "{state}");
    Ok(security.unmount()?)
}

pub(super) fn addresses_are_refused() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    let before = Footprint::now()?;
    let mut log = KernelLog::from_now()?;
    let loaded = Module::insert_late("erodax", &format!("region={address:#x},{size}"), lock_down)?;
    let error = loaded.map(drop);
    ensure!(error == Err(Errno::PERM), "{error:?}");
    let messages = messages(&mut log)?;
    let is_said = |word: &str| messages.iter().any(|line| line.contains(word));
    ensure!(
        messages.len() == 1 && is_said("lockdown") && is_said("region=initrd"),
        "{messages:?}"
    );
    before.check()?;
    // From now on the kernel itself refuses the module.
    let unsigned = load("region=initrd").map(drop);
    ensure!(unsigned == Err(Errno::PERM), "{unsigned:?}");
    Ok(())
}

pub(super) fn images_of_the_initrd_are_served() -> Result<()> {
    let module = Module::insert_late("erodax", "region=initrd", lock_down)??;
    ensure!(Device::all()?.len() == 1, "{:?}", Device::all()?);
    check_mountable()?;
    unload(module)
}
