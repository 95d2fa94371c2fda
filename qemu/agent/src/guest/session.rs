// SPDX-License-Identifier: GPL-2.0

//! PID 1: prepares the system, then serves the host's requests.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    mount::{mount, MountFlags},
    system::{reboot, uname, RebootCommand},
    termios::{tcgetattr, tcsetattr, OptionalActions},
};

use super::{child, remains::State};
use crate::protocol::{self, Event, Outcome, Request};

/// A child that outlives its SIGKILL by this much never dies.
const GRACE: Duration = Duration::from_secs(5);

/// Serves requests until the host says `exit`, then powers off.
pub(super) fn serve() -> Result<()> {
    prepare_filesystems()?;
    let mut port = open_port()?;
    let kernel = uname().release().to_string_lossy().into_owned();
    protocol::send(
        &mut port,
        &Event::Hello {
            kernel,
            version: protocol::VERSION,
        },
    )?;

    let mut requests = BufReader::new(port.try_clone()?);
    while let Some(request) = protocol::receive(&mut requests)? {
        match request {
            Request::Run {
                suite,
                test,
                timeout,
            } => {
                run(&mut port, suite, test, Duration::from_secs(timeout))?;
            }
            Request::Exit => break,
        }
    }
    reboot(RebootCommand::PowerOff).context("cannot power off")
}

/// Mounts what a program expects, and two tmpfs to work in: `/tmp` and `/mnt`.
///
/// # Errors
/// When something cannot be mounted.
pub fn prepare_filesystems() -> Result<()> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/mnt"),
    ] {
        fs::create_dir_all(target)?;
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    Ok(())
}

/// Opens the port so that bytes pass through unchanged: no echo, no line editing, no signals.
///
/// # Errors
/// When the machine has no such port.
pub fn open_port() -> Result<File> {
    let path = Path::new(protocol::GUEST_PORT);
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

fn run(port: &mut File, suite: String, test: String, limit: Duration) -> Result<()> {
    protocol::send(
        port,
        &Event::Started {
            suite: suite.clone(),
            test: test.clone(),
        },
    )?;
    log(&protocol::begin_marker(&suite, &test))?;
    let before = State::now()?;
    let start = Instant::now();
    let (mut outcome, mut message) = child::run(&suite, &test, limit, GRACE)?;
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let left = State::now()?.since(&before);
    if !left.is_empty() {
        if outcome == Outcome::Passed {
            outcome = Outcome::Failed;
            message.push_str(&format!("left behind: {left}"));
        }
        // Gives the next test a chance; what cannot be removed shows up there again.
        left.remove();
    }
    if outcome == Outcome::Passed {
        // Figures that a test prints: the host only shows what failed tests say.
        message
            .lines()
            .try_for_each(|line| log(&format!("erodax-test: {line}")))?;
    }
    log(&protocol::end_marker(&suite, &test))?;
    protocol::send(
        port,
        &Event::Finished {
            suite,
            test,
            outcome,
            message,
            millis,
        },
    )?;
    Ok(())
}

/// Writes one line to the kernel log, at a level that reaches the console.
fn log(line: &str) -> Result<()> {
    let mut log = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        .context("cannot open /dev/kmsg")?;
    log.write_all(format!("<5>{line}\n").as_bytes())
        .context("cannot write to /dev/kmsg")
}
