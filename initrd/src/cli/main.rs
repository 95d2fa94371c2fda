// SPDX-License-Identifier: GPL-2.0

//! `erodax`: builds initrds with EROFS images in place, and looks into them.

#![forbid(unsafe_code)]

mod align;
mod inspect;
mod pack;
mod size;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build and inspect initrds that carry EROFS images in place
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pack(pack::Args),
    Align(align::Args),
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Pack(args) => pack::run(&args),
        Command::Align(args) => align::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// Prints to standard output; a reader that went away, such as `head`, is no error.
fn print(text: &str) -> Result<(), erodax_initrd::Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(erodax_initrd::Error::Write {
                path: "standard output".into(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}

fn complain(what: &dyn std::fmt::Display) {
    // Without a place for messages the exit status remains.
    let _ = writeln!(io::stderr(), "erodax: {what}");
}
