// SPDX-License-Identifier: GPL-2.0

//! Every guest test as a test of `cargo test`.

mod benchmark;
mod boots;
mod images;
mod plan;
mod results;
mod suite;

use std::{env, process::ExitCode};

use anyhow::Context;
use erodax_qemu::{Accelerator, Environment};
use libtest_mimic::Arguments;

/// The variable that says how many seconds stress tests last.
const STRESS: &str = "ERODAX_STRESS_SECONDS";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match plan::run(&arguments, plan::jobs(Environment::will_debug()), start) {
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
    let stress = env::var_os(STRESS).map(|value| {
        let seconds = value.to_str().and_then(|seconds| seconds.parse().ok());
        seconds.with_context(|| format!("{STRESS} must be a number of seconds, not {value:?}"))
    });
    Ok(plan::Host {
        environment,
        accelerator,
        stress: stress.transpose()?,
    })
}
