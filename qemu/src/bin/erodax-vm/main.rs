// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm`: boots the payload in place in a virtual machine, to see it work (`run`) or to
//! look around in it (`shell`).

mod run;
mod shell;
mod show;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use erodax_qemu::{Accelerator, Environment};

/// Boots a Debian root in place from an initrd, in a virtual machine.
#[derive(Parser)]
#[command(name = "erodax-vm", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots the payload in place and, for comparison, as a plain initramfs, and reports.
    Run,
    /// Boots the payload in place, to a shell on this terminal.
    Shell,
}

/// What both need.
struct Host {
    environment: Environment,
    accelerator: Accelerator,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(&arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("erodax-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: &Command) -> anyhow::Result<bool> {
    let environment = Environment::from_env()?;
    let accelerator = Accelerator::choose(&environment)?;
    let host = Host {
        environment,
        accelerator,
    };
    match command {
        Command::Run => run::run(&host),
        Command::Shell => shell::shell(&host),
    }
}
