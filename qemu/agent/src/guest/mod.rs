// SPDX-License-Identifier: GPL-2.0

//! The guest's side: PID 1 of a test VM, and what tests are written with.
//!
//! PID 1 runs every test in a process of its own, a new instance of its own binary, so that a
//! panic, a fatal signal or a hang ends one test and not the VM.

pub mod calls;
mod child;
pub mod injection;
pub mod iomem;
pub mod kcore;
pub mod kmemleak;
pub mod kmsg;
pub mod mapping;
pub mod memory;
pub mod module;
pub mod mount;
pub mod pages;
mod remains;
pub mod ring;
mod session;
pub mod sleep;
pub mod system;
pub mod userfault;

use std::{env, process::ExitCode};

use anyhow::{bail, Context, Result};

pub use session::{open_port, prepare_filesystems};

/// A test's body.
pub type TestFn = fn() -> Result<()>;

/// The `main` of a guest binary, whose tests `find` knows by suite and name.
///
/// As PID 1 it serves the host until it is told to exit; with the arguments `SUITE TEST` it runs
/// that test.
pub fn main(find: fn(suite: &str, test: &str) -> Option<TestFn>) -> ExitCode {
    let result = if std::process::id() == 1 {
        session::serve()
    } else {
        run_one(find)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run_one(find: fn(&str, &str) -> Option<TestFn>) -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [suite, test] = arguments.as_slice() else {
        bail!("this is the init of a test VM; usage outside of one: SUITE TEST");
    };
    find(suite, test).with_context(|| format!("this guest binary has no test {suite}::{test}"))?()
}
