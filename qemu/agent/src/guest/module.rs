// SPDX-License-Identifier: GPL-2.0

//! Kernel modules, which the harness puts uncompressed into [`DIRECTORY`].

use std::{
    ffi::CString,
    fs::{self, File},
    mem,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{ensure, Context, Result};
use rustix::{
    fs::{ftruncate, memfd_create, MemfdFlags},
    io::Errno,
    system::{delete_module, finit_module},
};

use super::{
    calls::load_module,
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
    userfault::{Mode, UserFault},
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

    /// Loads one module, and does something when the kernel has decided about its signature and
    /// wants to have its parameters.
    ///
    /// # Errors
    /// When the kernel does not come so far, and those of `meanwhile`. The kernel's are inside.
    pub fn insert_late(
        name: &str,
        parameters: &str,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Result<Self, Errno>> {
        let mut content = [0; PAGE];
        let text = content.get_mut(..parameters.len());
        text.context("too many parameters")?
            .copy_from_slice(parameters.as_bytes());
        let file = File::open(path(name))?;
        let memory = memfd_create("parameters", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, PAGE.try_into()?)?;
        let mut page = Mapping::new(&memory, 0, PAGE, ProtFlags::READ, MapFlags::SHARED)?;
        let watcher = UserFault::new(Mode::Missing)?;
        watcher.watch(&mut page)?;
        let page = &page;
        let loaded = thread::scope(|scope| {
            let loading = scope.spawn(move || load_module(&file, page));
            let done = watcher
                .wait(Duration::from_secs(20))
                .map_err(anyhow::Error::from)
                .and_then(|is_waiting| {
                    ensure!(is_waiting, "the kernel does not ask for the parameters");
                    meanwhile()
                });
            watcher.provide(page, &content)?;
            let loaded = loading.join();
            done.map(|()| loaded)
        })?;
        let loaded = loaded.map_err(|_| anyhow::anyhow!("the loading thread panicked"))?;
        let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let name = CString::new(name)?;
        Ok(loaded.map(|()| Self { name }).map_err(errno))
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
    let mut needs = load_needs_of(name)?;
    loaded.push(Module::insert(name, "").with_context(|| format!("cannot load {name}"))?);
    loaded.append(&mut needs);
    Ok(loaded)
}

/// Loads the modules that one depends on, as [`load`] does, but not that one itself.
///
/// # Errors
/// When one of them cannot be loaded.
pub fn load_needs_of(name: &str) -> Result<Vec<Module>> {
    let content =
        fs::read(path(name)).with_context(|| format!("the initrd has no module {name}"))?;
    let mut needs = Vec::new();
    for need in modinfo::depends(&content) {
        needs.extend(load(&need)?);
    }
    Ok(needs)
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
