// SPDX-License-Identifier: GPL-2.0

//! Every guest test as a test of `cargo test`.

mod boots;
mod images;
mod plan;
mod results;
mod suite;

use std::process::ExitCode;

use erodax_qemu::{Accelerator, Environment};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match plan::run(&arguments, plan::jobs(), start) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("the guest tests cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<plan::Host> {
    let environment = Environment::from_env()?;
    let accelerator = Accelerator::choose(&environment)?;
    Ok(plan::Host {
        environment,
        accelerator,
    })
}
