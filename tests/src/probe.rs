// SPDX-License-Identifier: GPL-2.0

//! Probes in files.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// A uprobe of tracefs.
pub(crate) struct Probe<'a> {
    tracing: &'a Path,
}

impl<'a> Probe<'a> {
    const ENABLE: &'static str = "events/erodax_test/probe/enable";

    /// Sets it at a byte of a file; `tracing` is where tracefs is mounted.
    pub(crate) fn enable(tracing: &'a Path, file: &Path, offset: u64) -> Result<Self> {
        let event = format!("p:erodax_test/probe {}:{offset:#x}\n", file.display());
        fs::write(tracing.join("uprobe_events"), event).context("uprobe_events")?;
        fs::write(tracing.join(Self::ENABLE), "1").context("enabling")?;
        Ok(Self { tracing })
    }

    /// How often the code there was come to: `FILE EVENT HITS`
    pub(crate) fn hits(&self) -> Result<u64> {
        let profile = fs::read_to_string(self.tracing.join("uprobe_profile"))?;
        let fields: Vec<&str> = profile.split_whitespace().collect();
        let hits = fields.get(2).with_context(|| profile.clone())?;
        Ok(hits.parse()?)
    }

    pub(crate) fn disable(self) -> Result<()> {
        fs::write(self.tracing.join(Self::ENABLE), "0")?;
        Ok(fs::write(self.tracing.join("uprobe_events"), "\n")?)
    }
}
