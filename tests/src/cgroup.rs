// SPDX-License-Identifier: GPL-2.0

//! Processes that may use only so much memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{memory::drop_page_cache, mount::Mount};

/// A memory cgroup of its own hierarchy; nobody is in it at first.
#[must_use]
pub(crate) struct Cgroup {
    hierarchy: Mount,
    path: PathBuf,
}

impl Cgroup {
    /// With limits as cgroup v2 has them, by file. What is in the page cache is dropped, as it is
    /// not this group's.
    pub(crate) fn new(limits: &[(&str, &str)]) -> Result<Self> {
        let hierarchy = Mount::new("cgroup2", "none", "", "/mnt/cgroup")?;
        fs::write(hierarchy.path().join("cgroup.subtree_control"), "+memory")?;
        let path = hierarchy.path().join("small");
        fs::create_dir(&path)?;
        for (file, limit) in limits {
            fs::write(path.join(file), limit).with_context(|| format!("{file}={limit}"))?;
        }
        drop_page_cache()?;
        Ok(Self { hierarchy, path })
    }

    /// Puts the calling process into it.
    pub(crate) fn enter(&self) -> Result<()> {
        move_to(&self.path)
    }

    /// Takes the calling process out of it.
    pub(crate) fn leave(&self) -> Result<()> {
        move_to(self.hierarchy.path())
    }

    /// How often something happened, as `memory.events` names it.
    pub(crate) fn count(&self, event: &str) -> Result<u64> {
        let events = fs::read_to_string(self.path.join("memory.events"))?;
        let mut lines = events.lines().filter_map(|line| line.split_once(' '));
        let (_, count) = lines
            .find(|(name, _)| *name == event)
            .with_context(|| format!("no {event:?} in {events:?}"))?;
        Ok(count.parse()?)
    }

    /// Removes it, when its last process is gone.
    pub(crate) fn remove(self) -> Result<()> {
        let left = fs::read_to_string(self.path.join("cgroup.procs"))?;
        ensure!(left.is_empty(), "processes in the group: {left:?}");
        fs::remove_dir(&self.path)?;
        Ok(self.hierarchy.unmount()?)
    }
}

fn move_to(group: &Path) -> Result<()> {
    Ok(fs::write(
        group.join("cgroup.procs"),
        process::id().to_string(),
    )?)
}
