// SPDX-License-Identifier: GPL-2.0

//! The end of a boot that cannot go on: what is missing, how to fix it, and a shell.

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::Access;

use crate::log::Log;

/// Makes this program become a shell on the console; it is no argument of process 1.
pub(crate) const SHELL_ARG: &str = "--shell";

const SHELL: &str = "/bin/sh";

/// Why the boot cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    reasons: Vec<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            reasons: Vec::new(),
            fix: None,
        }
    }

    /// What to do about it.
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// What the kernel says about it; twice the same is said once.
    pub(crate) fn reasons(mut self, reasons: impl IntoIterator<Item = String>) -> Self {
        for reason in reasons {
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot boot: {}", self.what)?;
        for reason in &self.reasons {
            write!(f, "\nthe kernel says: {reason}")?;
        }
        match &self.fix {
            Some(fix) => write!(f, "\nto fix it: {fix}"),
            None => Ok(()),
        }
    }
}

/// Says what is wrong and gives a shell if there is one. Returns when there is nothing left to
/// do: the end of process 1 makes the kernel panic, visibly.
pub(crate) fn stop(failure: &Failure, log: &Log) -> ExitCode {
    log.error(failure);
    if is_executable(SHELL) {
        log.error(&"starting a shell; the kernel panics when it ends");
        if let Err(error) = shell() {
            log.error(&format_args!("cannot start {SHELL}: {error}"));
        }
    }
    log.error(&"giving up");
    log.close();
    // The kernel panics at once, without writing out what the terminal still holds.
    let _ = rustix::termios::tcdrain(rustix::stdio::stderr());
    ExitCode::FAILURE
}

/// What this program does when it is not process 1.
pub(crate) fn not_pid_1(wants_shell: bool) -> ExitCode {
    let error = if wants_shell {
        become_shell()
    } else {
        io::Error::other("this is the /init of an initramfs, and not for use in a running system")
    };
    eprintln!("erodax-init: {error}");
    ExitCode::FAILURE
}

/// Runs a shell in a session of its own, for which a process other than 1 is needed.
fn shell() -> io::Result<()> {
    let running = Path::new("/proc/self/exe");
    let program = if running.exists() {
        running.into()
    } else {
        env::args_os().next().unwrap_or_default()
    };
    Command::new(program).arg(SHELL_ARG).status().map(drop)
}

/// Takes the console as the controlling terminal, so that Ctrl-C and job control work.
fn become_shell() -> io::Error {
    let _ = rustix::process::setsid();
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console");
    if let Ok(console) = console {
        let _ = rustix::process::ioctl_tiocsctty(&console);
        let _ = rustix::stdio::dup2_stdin(&console);
        let _ = rustix::stdio::dup2_stdout(&console);
        let _ = rustix::stdio::dup2_stderr(&console);
    }
    Command::new(SHELL).arg("-i").exec()
}

fn is_executable(path: &str) -> bool {
    rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_how_to_fix_it() {
        let failure = Failure::new("no image")
            .reasons(["erodax: a".to_owned(), "erodax: b".to_owned()])
            .reasons(["erodax: a".to_owned()])
            .fix("pack one");
        assert_eq!(
            failure.to_string(),
            "cannot boot: no image\n\
             the kernel says: erodax: a\n\
             the kernel says: erodax: b\n\
             to fix it: pack one"
        );
        assert_eq!(Failure::new("x").to_string(), "cannot boot: x");
    }
}
