// SPDX-License-Identifier: GPL-2.0

//! What a test may leave behind in the kernel: mounts and modules.

use std::{ffi::CString, fmt, fs};

use anyhow::{Context, Result};
use rustix::{
    mount::{unmount, UnmountFlags},
    system::delete_module,
};

/// The mount points and modules of the moment, oldest first.
#[derive(Default)]
pub(super) struct State {
    mounts: Vec<String>,
    modules: Vec<String>,
}

impl State {
    pub(super) fn now() -> Result<Self> {
        let field = |path: &str, index: usize| -> Result<Vec<String>> {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            Ok(text
                .lines()
                .filter_map(|line| line.split(' ').nth(index))
                .map(str::to_owned)
                .collect())
        };
        let mut modules = field("/proc/modules", 0)?;
        modules.reverse();
        Ok(Self {
            mounts: field("/proc/mounts", 1)?,
            modules,
        })
    }

    /// What is in `self` but was not in `before`.
    pub(super) fn since(&self, before: &State) -> State {
        let new = |now: &[String], then: &[String]| {
            let mut then = then.to_vec();
            now.iter()
                .filter(|name| match then.iter().position(|known| known == *name) {
                    // The same mount point can be mounted on more than once.
                    Some(at) => {
                        then.swap_remove(at);
                        false
                    }
                    None => true,
                })
                .cloned()
                .collect()
        };
        State {
            mounts: new(&self.mounts, &before.mounts),
            modules: new(&self.modules, &before.modules),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.modules.is_empty()
    }

    /// Unmounts and unloads what it can, newest first.
    pub(super) fn remove(&self) {
        for mount in self.mounts.iter().rev() {
            let _ = unmount(mount.as_str(), UnmountFlags::empty());
        }
        for module in self.modules.iter().rev() {
            if let Ok(name) = CString::new(module.as_str()) {
                let _ = delete_module(&name, libc::O_NONBLOCK);
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mounts {:?}, modules {:?}", self.mounts, self.modules)
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    fn state(mounts: &[&str], modules: &[&str]) -> State {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        State {
            mounts: owned(mounts),
            modules: owned(modules),
        }
    }

    #[test]
    fn only_new_things_remain() {
        let before = state(&["/", "/mnt"], &["brd"]);
        let after = state(&["/", "/mnt", "/mnt", "/mnt/a"], &["brd", "erodax"]);
        let left = after.since(&before);
        assert_eq!(left.mounts, ["/mnt", "/mnt/a"]);
        assert_eq!(left.modules, ["erodax"]);
        assert!(before.since(&after).is_empty());
    }
}
