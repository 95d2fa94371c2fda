// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm`: boots the payload in place in a virtual machine, to see it work (`run`), to look
//! around in it (`shell`), or to measure what it costs (`bench`); and has mutated images served (`fuzz`).

mod bench;
mod fuzz;
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
    /// Measures what the payload costs in each of the ways to boot it from memory.
    Bench(bench::Arguments),
    /// Mutates small images, and mounts, walks and unmounts each.
    Fuzz(fuzz::Arguments),
}

/// What a machine for people needs.
struct Host {
    environment: Environment,
    accelerator: Accelerator,
}

impl Host {
    fn find() -> anyhow::Result<Self> {
        let environment = Environment::from_env()?;
        let accelerator = Accelerator::choose(&environment)?;
        Ok(Self {
            environment,
            accelerator,
        })
    }
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
    match command {
        Command::Run => run::run(&Host::find()?),
        Command::Shell => shell::shell(&Host::find()?),
        Command::Bench(arguments) => bench::bench(arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(arguments),
    }
}
