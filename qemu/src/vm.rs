// SPDX-License-Identifier: GPL-2.0

//! A VM with the agent in it.

use std::{
    fs,
    io::{self, BufReader},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::protocol::{self, Event, Outcome, Request};

use crate::{waker, Accelerator, Console, Environment, Machine, Port, Scenario};

const POLL: Duration = Duration::from_millis(10);
/// QEMU connects before it starts the guest.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// The agent keeps a test's time limit itself; this much more, and the guest is not alive.
const ANSWER_MARGIN: Duration = Duration::from_secs(20);
/// The console lags behind the agent's port.
const CONSOLE_LIMIT: Duration = Duration::from_secs(10);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed and the kernel had nothing to complain about.
    Passed,
    /// It did not, for this reason.
    Failed(String),
}

/// The agent's answer to a request to run a test.
struct Answer {
    outcome: Outcome,
    message: String,
    millis: u64,
}

/// A booted VM whose agent has said hello.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    console: Console,
    port: BufReader<UnixStream>,
    kernel: String,
    environment: Environment,
}

impl Vm {
    /// Boots the scenario, up to the agent's greeting.
    ///
    /// # Errors
    /// When there is no greeting in time, or the kernel complains while it boots. The message has
    /// the end of the console and the log's path.
    pub fn boot(
        environment: &Environment,
        accelerator: Accelerator,
        scenario: &Scenario,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [socket, monitor] = ["agent", "monitor"].map(|name| directory.path().join(name));
        let listener = UnixListener::bind(&socket)?;
        let monitors = UnixListener::bind(&monitor)?;
        let log = environment.logs().join(format!("{}.log", scenario.name));
        fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
        let mut machine = Machine::spawn(
            environment,
            scenario,
            accelerator,
            &Port::File(&log),
            Some(&Port::Socket(&socket)),
            Some(&monitor),
        )?;
        let console = Console::new(log);
        let mut connected = |listener| {
            accept(listener, &mut machine)
                .with_context(|| format!("QEMU says: {}", machine.complaints()))
        };
        let port = connected(&listener)?;
        waker::keep_awake(connected(&monitors)?);
        let mut vm = Self {
            machine,
            console,
            port: BufReader::new(port),
            kernel: String::new(),
            environment: environment.clone(),
        };
        vm.greet(environment.patience(scenario.boot_limit))
            .with_context(|| vm.last_words())
            .with_context(|| format!("VM {} does not boot", scenario.name))?;
        Ok(vm)
    }

    /// Release of the running kernel.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Runs one test, which may take `limit` in a guest with an ordinary kernel.
    ///
    /// # Errors
    /// When the VM is lost: it died, or does not answer any more. It must not be used again.
    pub fn run(&mut self, suite: &str, test: &str, limit: Duration) -> Result<Verdict> {
        let limit = self.environment.patience(limit);
        let answer = self
            .ask(suite, test, limit)
            .with_context(|| self.last_words())
            .with_context(|| format!("the VM is lost in {suite}::{test}"))?;
        let marker = protocol::end_marker(suite, test);
        if !self
            .console
            .wait_for(&marker, self.environment.patience(CONSOLE_LIMIT))?
        {
            bail!("no {marker:?} on the console; {}", self.last_words());
        }
        let splat = self.console.judge(Some(&marker))?;
        match (answer.outcome, self.verdict(&answer, splat)) {
            (Outcome::Stuck, Verdict::Failed(reason)) => bail!(reason),
            (_, verdict) => Ok(verdict),
        }
    }

    /// Powers the VM off and judges what it said since the last test.
    ///
    /// # Errors
    /// When it does not power off in time, or the kernel complains.
    pub fn shut_down(mut self) -> Result<()> {
        protocol::send(self.port.get_mut(), &Request::Exit)
            .with_context(|| self.last_words())
            .context("the VM is gone before it was told to power off")?;
        if self
            .machine
            .wait(self.environment.patience(SHUTDOWN_LIMIT))?
            .is_none()
        {
            bail!("the VM does not power off; {}", self.console.tail());
        }
        match self.console.judge(None)? {
            None => Ok(()),
            Some(splat) => bail!("while powering off, {}", self.describe(&splat)),
        }
    }

    fn greet(&mut self, limit: Duration) -> Result<()> {
        match self.event(limit)? {
            Event::Hello { kernel, version } => {
                ensure!(
                    version == protocol::VERSION,
                    "the guest speaks protocol version {version}, this harness {}: one is stale",
                    protocol::VERSION
                );
                self.kernel = kernel;
            }
            other => bail!("instead of hello the guest said {other:?}"),
        }
        match self.console.judge(None)? {
            None => Ok(()),
            Some(splat) => bail!("while booting, {}", self.describe(&splat)),
        }
    }

    fn ask(&mut self, suite: &str, test: &str, limit: Duration) -> Result<Answer> {
        let request = Request::Run {
            suite: suite.to_owned(),
            test: test.to_owned(),
            timeout: limit.as_secs(),
        };
        protocol::send(self.port.get_mut(), &request)?;
        match self.event(ANSWER_MARGIN)? {
            Event::Started { suite: s, test: t } if s == suite && t == test => {}
            other => bail!("unexpected {other:?}"),
        }
        match self.event(limit + ANSWER_MARGIN)? {
            Event::Finished {
                suite: s,
                test: t,
                outcome,
                message,
                millis,
            } if s == suite && t == test => Ok(Answer {
                outcome,
                message,
                millis,
            }),
            other => bail!("unexpected {other:?}"),
        }
    }

    fn event(&mut self, limit: Duration) -> Result<Event> {
        self.port.get_ref().set_read_timeout(Some(limit))?;
        match protocol::receive(&mut self.port) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => bail!("the VM ended"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("no answer within {} s", limit.as_secs())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn verdict(&self, answer: &Answer, splat: Option<String>) -> Verdict {
        let mut reasons = Vec::new();
        if answer.outcome != Outcome::Passed {
            reasons.push(answer.message.trim_end().to_owned());
        }
        reasons.extend(splat.map(|splat| self.describe(&splat)));
        if reasons.is_empty() {
            return Verdict::Passed;
        }
        let log = self.console.path().display();
        reasons.push(format!("after {} ms; console: {log}", answer.millis));
        Verdict::Failed(reasons.join("\n"))
    }

    /// What a lost VM leaves: the kernel's complaint, or whatever stands at the end.
    fn last_words(&mut self) -> String {
        let words = match self.console.judge(None) {
            Ok(Some(splat)) => self.describe(&splat),
            _ => self.console.tail(),
        };
        match self.machine.complaints() {
            none if none.is_empty() => words,
            complaints => format!("QEMU says: {complaints}\n{words}"),
        }
    }

    fn describe(&self, splat: &str) -> String {
        format!(
            "the kernel complained ({}):\n{splat}",
            self.console.path().display()
        )
    }
}

fn accept(listener: &UnixListener, machine: &mut Machine) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + CONNECT_LIMIT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = machine.wait(Duration::ZERO)? {
            bail!("QEMU ended at once: {status}");
        }
        ensure!(
            Instant::now() < deadline,
            "QEMU does not connect to its sockets"
        );
        thread::sleep(POLL);
    }
}
