// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm fuzz`: mutated images, mounted and walked by the thousand.

mod machine;
mod outcome;
mod prepare;

use std::{
    fs::File,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{bail, ensure, Context, Error, Result};
use clap::Args;
use erodax_mutants::Mode;
use rustix::fs::{flock, FlockOperation};

use crate::Host;
use machine::Lane;
use outcome::Outcome;

/// How long a run lasts for which nobody says it.
const SECONDS: u64 = 60;
/// Seeds of machines that run for some time, not for some images, are that far apart.
const FAR: u64 = 1 << 40;

/// What to do.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seed of the first image; the next ones have the numbers after it. Without it, the time.
    #[arg(long)]
    seed: Option<u64>,
    /// How many images.
    #[arg(long)]
    images: Option<u64>,
    /// For how many seconds; without any limit, for 60.
    #[arg(long)]
    seconds: Option<u64>,
    /// Serve each image by the kernel's own EROFS as well, and compare the answers.
    #[arg(long)]
    compare: bool,
    /// Let the images lie in a carve-out, which erodax serves itself, instead of on a pmem device.
    #[arg(long, conflicts_with = "compare")]
    carve_out: bool,
    /// An image file to serve as it is, once.
    #[arg(long, conflicts_with_all = ["images", "seconds"])]
    input: Option<PathBuf>,
    /// Machines at a time.
    #[arg(long, default_value_t = 1)]
    machines: u64,
    /// Go on after failures.
    #[arg(long)]
    keep_going: bool,
    /// Seconds without a sign of life after which a machine counts as hung.
    #[arg(long, default_value_t = 60)]
    hang: u64,
}

/// What all machines of a run have in common.
struct Run<'a> {
    host: &'a Host,
    mode: Mode,
    input: Option<PathBuf>,
    deadline: Option<Instant>,
    hang: Duration,
    keep_going: bool,
    /// Set when everybody has to come to an end.
    over: AtomicBool,
}

impl Run<'_> {
    /// A machine that cannot do its work ends those of the others, which may take hours.
    fn end(&self, error: &Error) {
        eprintln!("{error:#}");
        self.over.store(true, Ordering::Relaxed);
    }

    /// Logs have the names of what the machines do: until the file is closed, no other run of the
    /// kind can write to the same ones.
    fn lock(&self) -> Result<File> {
        let path = self
            .host
            .environment
            .logs()
            .join(format!("fuzz-{}.lock", self.mode.name()));
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).with_context(|| {
            format!("another run is at it in this checkout ({})", path.display())
        })?;
        Ok(file)
    }
}

/// Returns whether nothing was found.
pub(crate) fn fuzz(arguments: &Arguments) -> Result<bool> {
    ensure!(arguments.machines > 0, "--machines 0: there must be one");
    let host = Host::find()?;
    let seconds = match (arguments.images, arguments.seconds, &arguments.input) {
        (None, None, None) => Some(SECONDS),
        (_, seconds, _) => seconds,
    };
    let run = Run {
        host: &host,
        mode: match (arguments.compare, arguments.carve_out) {
            (true, _) => Mode::Compare,
            (_, true) => Mode::CarveOut,
            _ => Mode::Erodax,
        },
        input: arguments.input.clone(),
        deadline: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        hang: Duration::from_secs(arguments.hang),
        keep_going: arguments.keep_going,
        over: AtomicBool::new(false),
    };
    let _lock = run.lock()?;
    let first = arguments.seed.unwrap_or_else(now);
    let images = match arguments.input {
        Some(_) => Some(1),
        None => arguments.images,
    };
    let lanes = lanes(first, images, arguments.machines);
    let start = Instant::now();
    let outcomes = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|lane| scope.spawn(move || lane.run(run).inspect_err(|error| run.end(error))))
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a machine's thread has panicked"),
        });
        joined.collect::<Result<Vec<Outcome>>>()
    })?;
    let total = outcomes.into_iter().fold(Outcome::default(), Outcome::join);
    total.report(first, start.elapsed());
    Ok(total.failures.is_empty())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

/// Shares the images out among machines.
fn lanes(first: u64, images: Option<u64>, machines: u64) -> Vec<Lane> {
    let lane = |number: u64| match images {
        Some(images) => {
            let share = images.div_ceil(machines);
            let done = (number * share).min(images);
            Lane::new(number, first.wrapping_add(done), share.min(images - done))
        }
        None => Lane::new(number, first.wrapping_add(number * FAR), FAR),
    };
    let lanes = (0..machines).map(lane);
    lanes.filter(|lane| lane.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::lanes;

    #[test]
    fn each_image_once() {
        for (images, machines) in [(1, 1), (10, 3), (2, 4), (9, 3)] {
            let mut seeds: Vec<u64> = lanes(5, Some(images), machines)
                .into_iter()
                .flat_map(|lane| lane.first..lane.first + lane.count)
                .collect();
            seeds.sort_unstable();
            assert_eq!(seeds, (5..5 + images).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_a_number_the_first_seed_is_the_first_machines() {
        let lanes = lanes(u64::MAX, None, 2);
        assert_eq!(lanes[0].first, u64::MAX);
        assert_ne!(lanes[1].first, u64::MAX);
    }
}
