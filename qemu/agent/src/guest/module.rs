// SPDX-License-Identifier: GPL-2.0

//! Kernel modules, which the harness puts uncompressed into [`DIRECTORY`].

use std::{
    ffi::CString,
    fs::{self, File},
    mem,
    path::PathBuf,
};

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    system::{delete_module, finit_module},
};

use crate::modinfo;

/// Where the modules lie.
pub const DIRECTORY: &str = "/lib/erodax";

/// A loaded module, unloaded on drop.
#[must_use]
#[derive(Debug)]
pub struct Module {
    name: CString,
}

impl Module {
    /// Loads one module with its parameters, as insmod does.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` also when the initrd does not hold the module.
    pub fn insert(name: &str, parameters: &str) -> Result<Self, Errno> {
        let file = File::open(path(name))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let parameters = CString::new(parameters).map_err(|_| Errno::INVAL)?;
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        finit_module(file, &parameters, 0)?;
        Ok(Self { name })
    }

    /// Unloads it, as rmmod does: without waiting for it to become unused.
    ///
    /// # Errors
    /// The kernel's, with the module back so that one can try again.
    pub fn remove(self) -> Result<(), (Self, Errno)> {
        match delete_module(&self.name, libc::O_NONBLOCK) {
            Ok(()) => {
                mem::forget(self);
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // What stays loaded is reported as left behind.
        let _ = delete_module(&self.name, libc::O_NONBLOCK);
    }
}

/// Loads a module after those that it depends on, as modprobe does; what is loaded already stays
/// as it is. The result is in the order in which the modules must be dropped.
///
/// # Errors
/// When one of them cannot be loaded.
pub fn load(name: &str) -> Result<Vec<Module>> {
    let mut loaded = Vec::new();
    if is_loaded(name)? {
        return Ok(loaded);
    }
    let content =
        fs::read(path(name)).with_context(|| format!("the initrd has no module {name}"))?;
    let mut needs = Vec::new();
    for need in modinfo::depends(&content) {
        needs.extend(load(&need)?);
    }
    loaded.push(Module::insert(name, "").with_context(|| format!("cannot load {name}"))?);
    loaded.append(&mut needs);
    Ok(loaded)
}

/// Whether /proc/modules has it.
///
/// # Errors
/// When that cannot be read.
pub fn is_loaded(name: &str) -> Result<bool> {
    let modules = fs::read_to_string("/proc/modules").context("cannot read /proc/modules")?;
    Ok(modules
        .lines()
        .any(|line| line.split(' ').next() == Some(name)))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{name}.ko"))
}
