// SPDX-License-Identifier: GPL-2.0

//! The kernel's search for memory that nobody refers to any more
//! (Documentation/dev-tools/kmemleak.rst), which the debug kernel has.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{ensure, Context, Result};

use super::mount::Mount;

/// Younger objects are not reported (`MSECS_MIN_AGE`).
const AGE: Duration = Duration::from_secs(6);
/// An object is reported when it has not changed since the scan before, and stays so.
const SCANS: usize = 3;

/// A search for what is lost from its begin to its end.
#[must_use]
pub struct Kmemleak {
    debugfs: Mount,
}

impl Kmemleak {
    /// Forgets what is lost already; None when the kernel cannot search.
    ///
    /// # Errors
    /// debugfs's.
    pub fn begin() -> Result<Option<Self>> {
        let Ok(debugfs) = Mount::new("debugfs", "none", "", "/mnt/kmemleak") else {
            return Ok(None);
        };
        let this = Self { debugfs };
        if !this.file().exists() {
            this.debugfs.unmount()?;
            return Ok(None);
        }
        this.scan()?;
        this.tell("clear")?;
        Ok(Some(this))
    }

    /// Nothing must be lost.
    ///
    /// # Errors
    /// What the kernel reports.
    pub fn end(self) -> Result<()> {
        thread::sleep(AGE);
        self.scan()?;
        let report = fs::read_to_string(self.file())?;
        self.debugfs.unmount()?;
        ensure!(report.is_empty(), "memory that nobody refers to:\n{report}");
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.debugfs.path().join("kmemleak")
    }

    fn tell(&self, command: &str) -> Result<()> {
        fs::write(self.file(), command).with_context(|| format!("kmemleak: {command}"))
    }

    fn scan(&self) -> Result<()> {
        (0..SCANS).try_for_each(|_| self.tell("scan"))
    }
}
