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
/// The variable that says how often the module is loaded and unloaded in search of leaks.
const CYCLES: &str = "ERODAX_CYCLES";

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
    Ok(plan::Host {
        environment,
        accelerator,
        effort: plan::Effort {
            stress_seconds: number(STRESS)?,
            cycles: number(CYCLES)?,
        },
    })
}

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let value = env::var_os(variable).map(|value| {
        let number = value.to_str().and_then(|number| number.parse().ok());
        number.with_context(|| format!("{variable} must be a number, not {value:?}"))
    });
    value.transpose()
}
