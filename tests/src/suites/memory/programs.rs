// SPDX-License-Identifier: GPL-2.0

//! Programs that are started from an image. Dynamic ones are in the payload (`payload.rs`).

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};

use super::{OPTIONS, PROGRAM};
use crate::{kinds::Kind, programs};

/// Runs `body` on the root of the program's image, and the options, with each of them.
pub(super) fn with_program<K: Kind>(body: impl Fn(&Path, &str) -> Result<()>) -> Result<()> {
    let kind = K::serve()?;
    for options in OPTIONS {
        let mount = kind.mount(PROGRAM.name, options)?;
        body(mount.path(), options).with_context(|| format!("mounted with {options:?}"))?;
        mount.unmount().context("umount")?;
    }
    kind.end()
}

pub(super) fn static_program<K: Kind>() -> Result<()> {
    with_program::<K>(|root, _| {
        let file = fs::read(root.join(programs::FILE))?;
        ensure!(file == fs::read("/init")?, "the program is another one");
        for _ in 0..10 {
            let status = programs::command(root, "end").status()?;
            ensure!(status.success(), "{status}");
        }
        Ok(())
    })
}

/// Mounting takes a block device only if the kind is one.
pub(super) fn without_block_devices<K: Kind>() -> Result<()> {
    with_program::<K>(|root, _| {
        let status = programs::command(root, "end").status()?;
        ensure!(status.success(), "{status}");
        let disks = fs::read_dir("/sys/block")?.count();
        ensure!((disks > 0) == K::HAS_BLOCK_DEVICE, "{disks} block devices");
        Ok(())
    })
}
