// SPDX-License-Identifier: GPL-2.0

//! The init of a measured machine: mounts the tree the way the plan says, measures, reports,
//! powers off.

mod columns;
mod lists;
mod meter;
mod peer;
mod profile;
mod symbols;
mod tree;

use std::{
    fs::{self, File},
    process, thread,
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::{
    guest::{memory::Memory, open_port, prepare_filesystems},
    protocol,
};
use rustix::{
    system::{reboot, uname, RebootCommand},
    termios::tcdrain,
};

use crate::{plan::Source, Column, Phase, Plan, Record};

use lists::Lists;
use meter::{now, Meter};
use peer::Peer;
use profile::Profiler;
use tree::Tree;

/// How often a column is measured under the profiler.
const PROFILE_ROUNDS: u32 = 4;
/// Takes no time: the clock of an idle machine runs ahead.
const SETTLED: Duration = Duration::from_millis(200);

/// Does what the plan says, and powers the machine off.
///
/// # Errors
/// When the harness cannot be told about an error, or this is not a measured machine.
pub fn main() -> Result<()> {
    ensure!(process::id() == 1, "this is the init of a measured machine");
    let at = now();
    prepare_filesystems()?;
    let mut port = open_port()?;
    let last = match run(&mut port, at) {
        Ok(()) => Record::Finished,
        Err(error) => Record::Failed {
            message: format!("{error:#}"),
        },
    };
    protocol::send(&mut port, &last)?;
    tcdrain(&port)?;
    reboot(RebootCommand::PowerOff).context("cannot power off")
}

fn run(port: &mut File, at: u64) -> Result<()> {
    let cmdline = fs::read_to_string("/proc/cmdline").context("no /proc/cmdline")?;
    let plan = Plan::parse(&cmdline)?;
    let lists = Lists::take()?;
    // What is said costs instructions: only after the first program.
    let mut first = vec![Record::Started {
        kernel: uname().release().to_string_lossy().into_owned(),
        at,
    }];
    let start = || start(&plan, &lists);
    let (peer, at) = if plan.profile.is_some() && plan.columns == [Column::FirstExec] {
        let mut profiler = Profiler::new()?;
        wait_for_clock()?;
        let started = profiler.watch(start)?;
        first.push(profiler.finish(1)?);
        started
    } else {
        start()?
    };
    first.push(match plan.source {
        Source::Nothing => memory()?,
        _ => Record::FirstExec { at },
    });
    for record in first {
        protocol::send(port, &record)?;
    }
    let mut bench = Bench {
        port,
        peer,
        lists,
        meter: Meter::new()?,
    };
    for &column in &plan.columns {
        if let Err(error) = bench.column(column, plan.profile) {
            let message = format!("{error:#}");
            protocol::send(bench.port, &Record::Broken { column, message })?;
        }
    }
    Ok(())
}

/// Timers only fire between the ticks once the kernel has settled on its clock.
fn wait_for_clock() -> Result<()> {
    const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    for _ in 0..100 {
        if fs::read_to_string(CLOCK)?.trim_end() == "tsc" {
            return Ok(());
        }
        thread::sleep(SETTLED);
    }
    bail!("the kernel does not use the TSC")
}

/// Up to the end of the tree's first program.
fn start(plan: &Plan, lists: &Lists) -> Result<(Peer, u64)> {
    let peer = Peer::prepare(plan)?;
    if plan.source != Source::Nothing {
        let tree = peer.mount()?;
        columns::prepare(Column::FirstExec, &tree, lists)?.run()?;
    }
    Ok((peer, now()))
}

fn memory() -> Result<Record> {
    let Memory { free, cached } = Memory::now()?;
    Ok(Record::Memory { free, cached })
}

struct Bench<'a> {
    port: &'a mut File,
    peer: Peer,
    lists: Lists,
    meter: Meter,
}

impl Bench<'_> {
    fn column(&mut self, column: Column, profile: Option<Phase>) -> Result<()> {
        if column == Column::FirstExec {
            return Ok(());
        }
        self.measure(column)?;
        profile.map_or(Ok(()), |phase| self.profile(column, phase))
    }

    fn measure(&mut self, column: Column) -> Result<()> {
        for _ in 0..column.rounds() {
            let tree = self.fresh_tree()?;
            let mut job = columns::prepare(column, &tree, &self.lists)?;
            if column == Column::Memory {
                job.run()?;
                protocol::send(self.port, &memory()?)?;
                continue;
            }
            for phase in Phase::ALL {
                let measured = self.meter.measure(&mut *job)?;
                let record = Record::Measured {
                    column,
                    phase,
                    cost: measured.cost,
                    units: measured.units,
                    faults: measured.faults,
                };
                protocol::send(self.port, &record)?;
            }
        }
        Ok(())
    }

    /// Only once the inodes of an earlier mount are freed, which happens in the background.
    fn fresh_tree(&self) -> Result<Tree> {
        thread::sleep(SETTLED);
        self.peer.mount()
    }

    fn profile(&mut self, column: Column, phase: Phase) -> Result<()> {
        if column == Column::Memory {
            bail!("there is none: that is not a number of instructions");
        }
        let mut profiler = Profiler::new()?;
        let rounds = PROFILE_ROUNDS.max(column.rounds());
        for _ in 0..rounds {
            let tree = self.fresh_tree()?;
            let mut job = columns::prepare(column, &tree, &self.lists)?;
            if phase == Phase::Warm {
                job.get_ready()?;
                job.run()?;
            }
            job.get_ready()?;
            profiler.watch(|| job.run())?;
        }
        Ok(protocol::send(self.port, &profiler.finish(rounds)?)?)
    }
}
