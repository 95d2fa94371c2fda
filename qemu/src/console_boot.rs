// SPDX-License-Identifier: GPL-2.0

//! A VM without the agent, which is judged by what it writes to its serial ports.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{bail, Context, Result};

use crate::{Accelerator, Console, Environment, Machine, Port, Scenario};

const POLL: Duration = Duration::from_millis(50);

/// What a VM wrote until it ended.
#[derive(Debug)]
pub struct ConsoleBoot {
    /// The kernel's console.
    pub console: Console,
    /// The second serial port.
    pub output: String,
}

impl ConsoleBoot {
    /// Boots a scenario and waits until the VM powers itself off, or panics. `watch` is called
    /// now and then with what the second serial port has so far.
    ///
    /// # Errors
    /// When the VM has not ended at the scenario's limit, with the end of its console.
    pub fn run(
        environment: &Environment,
        accelerator: Accelerator,
        scenario: &Scenario,
        mut watch: impl FnMut(&str),
    ) -> Result<Self> {
        let log = fresh(environment, &format!("{}.log", scenario.name))?;
        let port = fresh(environment, &format!("{}.out", scenario.name))?;
        let mut machine = Machine::spawn(
            environment,
            scenario,
            accelerator,
            &Port::File(&log),
            Some(&Port::File(&port)),
            None,
        )?;
        let console = Console::new(log);
        let output =
            || -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(&port)?).into_owned()) };
        let limit = environment.patience(scenario.boot_limit);
        let deadline = Instant::now() + limit;
        while machine.wait(POLL)?.is_none() {
            if Instant::now() >= deadline {
                bail!(
                    "VM {} still runs after {} s; {}",
                    scenario.name,
                    limit.as_secs(),
                    console.tail()
                );
            }
            watch(&output()?);
        }
        let complaints = machine.complaints();
        if !complaints.is_empty() {
            bail!("QEMU complains: {complaints}");
        }
        Ok(Self {
            console,
            output: output()?,
        })
    }
}

fn fresh(environment: &Environment, name: &str) -> Result<PathBuf> {
    let path = environment.logs().join(name);
    fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
