// SPDX-License-Identifier: GPL-2.0

//! System calls that only exist as unsafe functions.
#![expect(
    unsafe_code,
    reason = "fork, swapon, vmsplice and process_vm_readv have no safe form"
)]

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    process::ExitStatus,
};

use anyhow::{ensure, Context, Result};
use rustix::{
    io::Errno,
    pipe::{vmsplice, IoSliceRaw, SpliceFlags},
    process::{kill_process, waitpid, Pid, Signal, WaitOptions},
};

/// A forked child, which shares nothing with the parent but what fork shares. It is killed when
/// it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

impl Child {
    /// Runs `body` in a child, which ends with the code 0 for `Ok`, 1 for an error (which it
    /// prints), 101 for a panic, or by a signal.
    ///
    /// # Errors
    /// When the process cannot be forked: fails too when it has more than one thread, as the child
    /// would inherit their locks.
    pub fn start(body: impl FnOnce() -> Result<()>) -> Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        ensure!(threads == 1, "fork in a process of {threads} threads");
        // SAFETY: the process has one thread, so that no lock is held by one that the child lacks.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = match catch_unwind(AssertUnwindSafe(body)) {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    eprintln!("in the child: {error:?}");
                    1
                }
                Err(_) => 101,
            };
            // SAFETY: `_exit` has no preconditions; it skips the exit handlers, which are the
            // parent's.
            unsafe { libc::_exit(code) };
        }
        ensure!(pid > 0, "cannot fork: {}", io::Error::last_os_error());
        let pid = Pid::from_raw(pid).context("fork returned no pid")?;
        Ok(Self { pid })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end and returns how it ended.
    ///
    /// # Errors
    /// The system call's.
    pub fn wait(self) -> Result<ExitStatus> {
        let (_, status) =
            waitpid(Some(self.pid), WaitOptions::empty())?.context("the child has no status")?;
        mem::forget(self);
        Ok(ExitStatus::from_raw(status.as_raw()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that has ended already has its number until it is waited for.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Runs `body` in a [`Child`] and returns how it ended.
///
/// # Errors
/// As [`Child::start`].
pub fn in_child(body: impl FnOnce() -> Result<()>) -> Result<ExitStatus> {
    Child::start(body)?.wait()
}

/// Makes the kernel page to a file.
///
/// # Errors
/// The system call's.
pub fn swap_on(file: &Path) -> io::Result<()> {
    let file = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: a string; the kernel alone decides whether the file can hold pages.
    let result = unsafe { libc::swapon(file.as_ptr(), 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Puts references to the pages of `bytes` into a pipe.
///
/// # Errors
/// The system call's.
pub fn splice_pages(pipe: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let slices = [IoSliceRaw::from_slice(bytes)];
    // SAFETY: the slice is valid, and the kernel only reads its pages.
    unsafe { vmsplice(pipe, &slices, SpliceFlags::empty()) }
}

/// Reads this process's own memory the way a debugger reads another's.
///
/// # Errors
/// The system call's.
pub fn read_own_memory(from: &[u8], into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    // SAFETY: `local` is an exclusively borrowed buffer of its stated length; `remote` is only read.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
