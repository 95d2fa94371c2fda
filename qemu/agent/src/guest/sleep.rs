// SPDX-License-Identifier: GPL-2.0

//! The machine's sleep.

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};

const POWER: &str = "/sys/power";

/// Suspends the machine to its memory (ACPI S3), and returns when its host has woken it.
///
/// # Errors
/// When the kernel or the machine cannot do that.
pub fn to_memory() -> Result<()> {
    let before = times_slept()?;
    set("mem_sleep", "deep")?;
    set("state", "mem")?;
    let slept = times_slept()?.saturating_sub(before);
    ensure!(slept == 1, "slept {slept} times");
    Ok(())
}

fn set(attribute: &str, value: &str) -> Result<()> {
    let path = Path::new(POWER).join(attribute);
    fs::write(&path, value).with_context(|| format!("{value:?} into {}", path.display()))
}

fn times_slept() -> Result<u64> {
    let path = Path::new(POWER).join("suspend_stats/success");
    let times = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(times.trim().parse()?)
}
