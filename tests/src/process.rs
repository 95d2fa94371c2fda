// SPDX-License-Identifier: GPL-2.0

//! Processes that do the second half of their work when they are told to.

use std::{
    fs::File,
    io::{Read, Write},
    process::ExitStatus,
};

use anyhow::{Context, Result};
use erodax_agent::guest::system::Child;
use rustix::pipe::pipe;

/// A process that has done its first half.
pub(crate) struct Process {
    child: Child,
    end: File,
}

impl Process {
    /// Does `first` in a process of its own, and waits until that is done.
    pub(crate) fn start<T>(
        first: impl FnOnce() -> Result<T>,
        second: impl FnOnce(T) -> Result<()>,
    ) -> Result<Self> {
        let (told, end) = pipe()?;
        let (done, says) = pipe()?;
        let child = Child::start(|| {
            let held = first()?;
            File::from(says.try_clone()?).write_all(&[1])?;
            File::from(told.try_clone()?).read_exact(&mut [0])?;
            second(held)
        })?;
        drop((says, told));
        let done = File::from(done).read_exact(&mut [0]);
        done.context("the first half was not done")?;
        let end = File::from(end);
        Ok(Self { child, end })
    }

    /// Lets it do the second half, and returns how it ended.
    pub(crate) fn end(mut self) -> Result<ExitStatus> {
        self.end.write_all(&[1])?;
        self.child.wait()
    }
}
