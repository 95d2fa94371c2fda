// SPDX-License-Identifier: GPL-2.0

//! One test in one process.

use std::{
    env,
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    pipe::{pipe_with, PipeFlags},
    process::{wait, WaitOptions},
};

use crate::protocol::Outcome;

/// How much of a test's output is passed on: the end of it, where the error stands.
const KEPT_OUTPUT: usize = 16 * 1024;
/// How long the output is waited for when a process that the test left behind holds it open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(2);

/// Runs a test and says how it ended and what it printed.
pub(super) fn run(
    suite: &str,
    test: &str,
    limit: Duration,
    grace: Duration,
) -> Result<(Outcome, String)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut child = Command::new(env::current_exe()?)
        .args([suite, test])
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .context("cannot start the test's process")?;
    let output = Output::collect(reader);
    let (outcome, reason) = match wait_until(&mut child, limit)? {
        Some(status) => judge(status),
        None => {
            child.kill()?;
            kill_outcome(wait_until(&mut child, grace)?.is_some(), limit, grace)
        }
    };
    reap_orphans();
    Ok((outcome, output.take() + &reason))
}

fn wait_until(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(POLL),
            status => return Ok(status),
        }
    }
}

fn judge(status: ExitStatus) -> (Outcome, String) {
    match (status.code(), status.signal()) {
        (Some(0), _) => (Outcome::Passed, String::new()),
        (_, Some(signal)) => (
            Outcome::Failed,
            format!("the test's process died of signal {signal}\n"),
        ),
        // The error or the panic is in the output.
        _ => (Outcome::Failed, String::new()),
    }
}

fn kill_outcome(died: bool, limit: Duration, grace: Duration) -> (Outcome, String) {
    if died {
        (
            Outcome::TimedOut,
            format!("killed at its time limit of {} s\n", limit.as_secs()),
        )
    } else {
        (
            Outcome::Stuck,
            format!(
                "over its time limit, and alive {} s after SIGKILL\n",
                grace.as_secs()
            ),
        )
    }
}

/// PID 1 inherits what a test leaves behind; zombies would count as leaked memory.
fn reap_orphans() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// The end of what a process prints, gathered by a thread while it runs.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Output {
    fn collect(reader: OwnedFd) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let mut reader = File::from(reader);
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&chunk[..read]);
                let excess = text.len().saturating_sub(KEPT_OUTPUT);
                text.drain(..excess);
            }
        });
        Self { text, thread }
    }

    fn take(self) -> String {
        let deadline = Instant::now() + OUTPUT_GRACE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}
