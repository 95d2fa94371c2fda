// SPDX-License-Identifier: GPL-2.0

//! The whole life of the module, again and again.

use std::fs;

use anyhow::{ensure, Result};

use crate::{
    erodax::{check_mountable, check_no_leak_in, mount, serve_initrd, unload, Cycles, CYCLES},
    parameter,
    suites::compressed,
    CYCLES_PARAMETER,
};

/// Loaded, mounted, read, unmounted, unloaded: then there is as much memory as before.
pub(super) fn nothing_is_left() -> Result<()> {
    let counted = parameter(CYCLES_PARAMETER)?.unwrap_or(CYCLES);
    check_no_leak_in(&Cycles::of(counted), cycle)
}

fn cycle() -> Result<()> {
    let module = serve_initrd()?;
    check_mountable()?;
    let decoded = mount(compressed::ZSTD_SHARED.name, "")?;
    let read = fs::read(decoded.path().join("text/4097"))?;
    ensure!(read.starts_with(b"line 0\n"), "another file");
    decoded.unmount()?;
    unload(module)
}
