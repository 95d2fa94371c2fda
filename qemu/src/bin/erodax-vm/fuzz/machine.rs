// SPDX-License-Identifier: GPL-2.0

//! One machine after the other, until the images of a lane have been served.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_mutants::{
    record::{Counts, Parser},
    Mode, Phase, Plan, Record, Seeds,
};
use erodax_qemu::{Console, Machine, Port};

use super::{
    outcome::{per_minute, Outcome},
    prepare, Run,
};

const POLL: Duration = Duration::from_millis(100);
/// Between two lines about how far it is.
const REPORT: Duration = Duration::from_secs(30);
/// Some images, for one machine at a time.
pub(super) struct Lane {
    number: u64,
    /// The first seed.
    pub(super) first: u64,
    /// How many images.
    pub(super) count: u64,
}

/// Why a machine's work is over.
enum End {
    /// It has served all images, or the time is up.
    Over,
    /// It is gone, for this reason.
    Lost(String),
}

impl Lane {
    pub(super) fn new(number: u64, first: u64, count: u64) -> Self {
        Self {
            number,
            first,
            count,
        }
    }

    /// Serves the images; a machine that is lost is replaced from the next one on.
    pub(super) fn run(&self, run: &Run) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut watch = Watch {
            run,
            lane: self.number,
            outcome: &mut outcome,
            reported: Instant::now(),
            since: Instant::now(),
        };
        let mut done = 0;
        while done < self.count && !watch.is_over() {
            let plan = Plan {
                mode: run.mode,
                first: self.first.wrapping_add(done),
                count: self.count - done,
            };
            done += watch.boot(plan)?;
        }
        Ok(outcome)
    }
}

struct Watch<'a> {
    run: &'a Run<'a>,
    lane: u64,
    outcome: &'a mut Outcome,
    reported: Instant,
    since: Instant,
}

impl Watch<'_> {
    fn is_over(&self) -> bool {
        let is_late = self
            .run
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        is_late || self.run.over.load(Ordering::Relaxed)
    }

    /// Boots a machine and watches it to its end; returns how many images it has had.
    fn boot(&mut self, plan: Plan) -> Result<u64> {
        let environment = &self.run.host.environment;
        let scenario = prepare::scenario(environment, self.run.input.as_deref(), plan, self.lane)?;
        let files = ["log", "out"].map(|kind| {
            let path = environment.logs().join(format!("{}.{kind}", scenario.name));
            fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        });
        let [log, port]: [Result<PathBuf>; 2] = files;
        let (log, port) = (log?, port?);
        let mut machine = Machine::spawn(
            environment,
            &scenario,
            self.run.host.accelerator,
            &Port::File(&log),
            Some(&Port::File(&port)),
            None,
        )?;
        let mut console = Console::new(log);
        let mut parser = Parser::default();
        let end = self.watch(plan, &mut machine, &mut File::open(&port)?, &mut parser)?;
        drop(machine);
        if let End::Lost(reason) = end {
            let said = console.judge(None)?.unwrap_or_else(|| console.tail());
            let reason = format!("{reason}\n{said}");
            ensure!(parser.images > 0, "the machine does not start: {reason}");
            let seed = plan.first.wrapping_add(parser.images - 1);
            let stock = parser.phase == Some(Phase::Stock);
            self.complaint(seed, stock, &reason)?;
        }
        Ok(parser.images)
    }

    fn watch(
        &mut self,
        plan: Plan,
        machine: &mut Machine,
        port: &mut File,
        parser: &mut Parser,
    ) -> Result<End> {
        let mut alive = Instant::now();
        let mut counts = Counts::default();
        let end = loop {
            let is_gone = machine.wait(POLL)?.is_some();
            let mut bytes = Vec::new();
            port.read_to_end(&mut bytes)?;
            let before = parser.images;
            let records = parser.take(&bytes);
            self.outcome.images += parser.images - before;
            let mut finished = false;
            for record in records.context("the guest says what nobody understands")? {
                match record {
                    Record::Progress(now) => counts = now,
                    Record::Finished => finished = true,
                    other => self.record(other)?,
                }
            }
            if !bytes.is_empty() {
                alive = Instant::now();
            }
            if finished || self.is_over() {
                break End::Over;
            }
            if is_gone {
                break End::Lost("the machine is gone".to_owned());
            }
            if alive.elapsed() > self.limit(parser) {
                let seconds = alive.elapsed().as_secs();
                break End::Lost(format!("no sign of life for {seconds} s"));
            }
            self.progress(plan);
        };
        self.outcome.add(counts);
        Ok(end)
    }

    /// Booting takes longer than an image.
    fn limit(&self, parser: &Parser) -> Duration {
        let hang = self.run.host.environment.patience(self.run.hang);
        match parser.images {
            0 => hang * 4,
            _ => hang,
        }
    }

    fn progress(&mut self, plan: Plan) {
        if self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        eprintln!(
            "  machine {}: {} images, {:.0} a minute, from SEED={} on",
            self.lane,
            self.outcome.images,
            per_minute(self.outcome.images, self.since.elapsed()),
            plan.first
        );
    }

    fn record(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Complaint { seed, stock, text } => {
                self.complaint(seed, stock, &format!("the kernel complained:\n{text}"))
            }
            Record::Contradiction { seed, text } => {
                self.fail(seed, &format!("erodax contradicts itself: {text}"))
            }
            Record::Difference {
                seed,
                class: None,
                text,
            } => self.fail(seed, &format!("a difference of no known class: {text}")),
            Record::Difference {
                seed,
                class: Some(class),
                ..
            } => {
                self.outcome.note(class, seed);
                Ok(())
            }
            Record::Fickle { seed } => {
                self.outcome
                    .note("stock does not answer the same twice".to_owned(), seed);
                Ok(())
            }
            Record::Failed { message } => bail!("the guest failed: {message}"),
            Record::Started { .. } | Record::Progress(_) | Record::Finished => Ok(()),
        }
    }

    /// What the kernel's own EROFS does to the kernel is not erodax's fault.
    fn complaint(&mut self, seed: u64, stock: bool, text: &str) -> Result<()> {
        if stock {
            let summary = text
                .lines()
                .find(|line| line.contains(": "))
                .unwrap_or(text);
            self.outcome.note(format!("stock: {summary}"), seed);
            return Ok(());
        }
        self.fail(seed, text)
    }

    fn fail(&mut self, seed: u64, text: &str) -> Result<()> {
        let again = match (&self.run.input, self.run.mode) {
            (Some(input), _) => format!("the image is {}", input.display()),
            (None, mode) => {
                let file = self.save(seed)?;
                let guest = match mode {
                    Mode::Erodax => "1",
                    other => other.name(),
                };
                format!(
                    "the image is {}\nagain: make fuzz GUEST={guest} SEED={seed} IMAGES=1",
                    file.display()
                )
            }
        };
        let failure = format!("SEED={seed}: {text}\n{again}");
        eprintln!("{failure}");
        self.outcome.failures.push(failure);
        if !self.run.keep_going {
            self.run.over.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes the guest's image once more, and keeps it.
    fn save(&self, seed: u64) -> Result<PathBuf> {
        let environment = &self.run.host.environment;
        let mutant = Seeds::read(&prepare::seeds(environment)?)?.mutant(seed);
        let directory = environment.work.join("mutants");
        fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{seed}-{}", mutant.origin));
        fs::write(&file, mutant.bytes)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
