// SPDX-License-Identifier: GPL-2.0

//! Pages that the kernel reads for itself, one at a time: of those, nobody tries again what has failed.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
    mount::Mount,
};

use super::{
    ground::{bytes_of, end, serve, NODE},
    images::COMPRESSED,
    streams::{BEHIND_DAMAGE, TWO},
};
use crate::{
    erodax::{mount_source, GOOD},
    probe::Probe,
};

/// A uprobe reads the page with its code. Damage in the pages before it, which are filled together
/// with it, is not this page's.
pub(super) fn behind_damage() -> Result<()> {
    bytes_of(GOOD)?;
    let module = serve(&BEHIND_DAMAGE.bytes()?)?;
    let mount = mount_source(Path::new(NODE), "", "attack")?;
    let tracing = Mount::new("tracefs", "none", "", "/mnt/tracing")?;
    let path = mount.path().join(COMPRESSED);
    let code = Mapping::new(
        File::open(&path)?,
        TWO,
        PAGE,
        ProtFlags::READ | ProtFlags::EXEC,
        MapFlags::PRIVATE,
    )?;
    let probe = Probe::enable(tracing.path(), &path, TWO).context("a probe in a good page")?;
    probe.disable()?;
    drop(code);
    tracing.unmount()?;
    mount.unmount()?;
    end(module)
}
