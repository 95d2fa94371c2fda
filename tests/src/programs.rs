// SPDX-License-Identifier: GPL-2.0

//! What the guest's binary does when a test starts it from an image: `PROGRAM NAME`.

use std::{
    hint::black_box,
    io::{stdin, BufRead, BufReader, Write},
    process::{abort, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use std::path::Path;

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::TestFn;

/// Its name in an image of [`crate::image::Content::Program`].
pub(crate) const FILE: &str = "program";

/// The first argument, in the place of a suite's name.
const SUITE: &str = "program";

/// What can be started, by name.
const ALL: &[(&str, TestFn)] = &[("end", end), ("answer", answer), ("crash", crash)];

/// The program of this suite and name, if it is one.
pub(crate) fn find(suite: &str, name: &str) -> Option<TestFn> {
    let known = ALL.iter().find(|(known, _)| *known == name)?;
    (suite == SUITE).then_some(known.1)
}

/// How to start a program from an image.
pub(crate) fn command(root: &Path, name: &str) -> Command {
    let mut command = Command::new(root.join(FILE));
    command.args([SUITE, name]);
    command
}

fn end() -> Result<()> {
    Ok(())
}

/// What a debugger puts a breakpoint on.
#[inline(never)]
fn square(number: u64) -> u64 {
    black_box(number) * black_box(number)
}

/// Says where [`square`] is, and then the square of each number that it is told.
fn answer() -> Result<()> {
    println!("{}", (square as fn(u64) -> u64) as usize);
    for line in stdin().lines() {
        println!("{}", square(line?.parse()?));
    }
    Ok(())
}

/// Initialized data of the program: a page of the file of which a process gets a copy.
static DATA: [AtomicU64; 2] = [AtomicU64::new(UNCHANGED), AtomicU64::new(UNCHANGED)];

/// What [`DATA`] has in the file.
pub(crate) const UNCHANGED: u64 = 0x0123_4567_89ab_cdef;
/// What [`crash`] changes the first word of [`DATA`] into.
pub(crate) const CHANGED: u64 = 0xfedc_ba98_7654_3210;

/// Says where [`DATA`] and [`square`] are, changes the former, and leaves a core dump.
fn crash() -> Result<()> {
    DATA[0].store(CHANGED, Ordering::SeqCst);
    println!("{}", (&raw const DATA).addr());
    println!("{}", (square as fn(u64) -> u64) as usize);
    abort()
}

/// [`answer`], running.
pub(crate) struct Answering {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where [`square`] is.
    pub(crate) address: u64,
}

impl Answering {
    /// Starts it from an image.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let mut child = command(root, "answer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut started = Self {
            child,
            input,
            output,
            address: 0,
        };
        started.address = started.line()?;
        Ok(started)
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it call [`square`].
    pub(crate) fn ask(&mut self, number: u64) -> Result<()> {
        Ok(writeln!(self.input, "{number}")?)
    }

    /// Waits for the answer, which must be right.
    pub(crate) fn check_answer(&mut self, number: u64) -> Result<()> {
        let answer = self.line()?;
        ensure!(answer == number * number, "{number} squared is {answer}");
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Result<()> {
        let Self {
            mut child, input, ..
        } = self;
        drop(input);
        let status = child.wait()?;
        ensure!(status.success(), "the program: {status}");
        Ok(())
    }

    fn line(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("{line:?}"))
    }
}
