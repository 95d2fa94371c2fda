// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail on request: fault injection, which the debug kernel has
//! (Documentation/fault-injection/fault-injection.rst).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::mount::Mount;

/// The task's count of allocations until one fails. It is read and written without allocating.
const COUNT: &str = "/proc/thread-self/fail-nth";
/// The longest number in it.
const DIGITS: usize = 16;

/// What kinds of allocations can fail: objects of slabs, and pages.
const SWITCHES: [(&str, &[(&str, &str)]); 2] = [
    ("failslab", &[("verbose", "0"), ("ignore-gfp-wait", "N")]),
    (
        "fail_page_alloc",
        // Pages of programs stay out of it (`ignore-gfp-highmem`).
        &[
            ("verbose", "0"),
            ("ignore-gfp-wait", "N"),
            ("min-order", "0"),
        ],
    ),
];

/// Where the kernel has modules: `MODULES_VADDR` and `MODULES_END` on x86-64.
const MODULES: [(&str, u64); 2] = [
    ("require-start", 0xffff_ffff_c000_0000),
    ("require-end", 0xffff_ffff_ff00_0000),
];
/// Every allocation.
const EVERYTHING: [(&str, u64); 2] = [("require-start", 0), ("require-end", u64::MAX)];

/// Whose allocations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All that the process asks the kernel for.
    Any,
    /// Those that a module makes, or somebody that it calls.
    Modules,
}

/// Fault injection, prepared.
#[must_use]
pub struct Injection {
    debugfs: Mount,
}

impl Injection {
    /// Mounts debugfs and has allocations fail that may sleep, too.
    ///
    /// # Errors
    /// When the kernel has no fault injection.
    pub fn prepare(whose: Whose) -> Result<Self> {
        fs::metadata(COUNT).context("the kernel has no fault injection")?;
        let debugfs = Mount::new("debugfs", "none", "", "/mnt/injection")?;
        let this = Self { debugfs };
        for (kind, switches) in SWITCHES {
            for (name, value) in switches {
                this.set(kind, name, value)?;
            }
            let required = match whose {
                Whose::Any => EVERYTHING,
                Whose::Modules => MODULES,
            };
            for (name, value) in required {
                this.set(kind, name, &format!("{value:#x}"))?;
            }
        }
        Ok(this)
    }

    fn set(&self, kind: &str, name: &str, value: &str) -> Result<()> {
        let path: PathBuf = [self.debugfs.path(), Path::new(kind), Path::new(name)]
            .iter()
            .collect();
        fs::write(&path, value).with_context(|| path.display().to_string())
    }

    /// Runs `body` with its `nth` allocation, from 1 on, failing; says too whether it had so many.
    ///
    /// # Errors
    /// procfs's.
    pub fn with_nth<T>(&self, nth: u32, body: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let count = OpenOptions::new().read(true).write(true).open(COUNT)?;
        let (on, off) = (nth.to_string(), "0");
        count.write_all_at(on.as_bytes(), 0)?;
        let answer = body();
        let left = read_number(&count);
        count.write_all_at(off.as_bytes(), 0)?;
        Ok((answer, left? == 0))
    }

    /// Gives debugfs back.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn end(self) -> Result<()> {
        self.debugfs.unmount().context("umount of debugfs")
    }
}

fn read_number(count: &File) -> io::Result<u32> {
    let mut text = [0; DIGITS];
    let len = count.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..len]);
    text.trim().parse().map_err(io::Error::other)
}
