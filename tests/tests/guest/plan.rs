// SPDX-License-Identifier: GPL-2.0

//! Which VMs are needed for the selected tests, and when they run.
//!
//! A job is what one VM after another does: a suite's tests, or a boot that is judged by its
//! console. Jobs run in a few lanes, because a VM takes a whole processor; the test runner's own
//! threads only wait for results, so that tests are reported one by one in the usual form.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Result;
use erodax_qemu::{Accelerator, Environment};
use erodax_tests::{suites, CYCLES_PARAMETER, STRESS_PARAMETER};
use libtest_mimic::{Arguments, Conclusion, Trial};

use crate::{benchmark, boots, results::Results, suite};

/// More VMs at once would fight for memory and for the processors of a small machine.
const MAX_LANES: usize = 2;

/// What jobs need of the host.
pub struct Host {
    pub environment: Environment,
    pub accelerator: Accelerator,
    pub effort: Effort,
}

/// How long tests go on that could go on for ever, if it is not what they do anyway.
#[derive(Clone, Copy)]
pub struct Effort {
    /// How many seconds stress tests last.
    pub stress_seconds: Option<u64>,
    /// How often the module is loaded and unloaded.
    pub cycles: Option<u64>,
}

impl Effort {
    /// The guest's kernel parameters.
    pub fn parameters(self) -> impl Iterator<Item = String> {
        let parameters = [
            (STRESS_PARAMETER, self.stress_seconds),
            (CYCLES_PARAMETER, self.cycles),
        ];
        let given = |(name, value): (&str, Option<u64>)| Some(format!("{name}={}", value?));
        parameters.into_iter().filter_map(given)
    }

    /// How many seconds more than otherwise a test may take.
    pub fn seconds(self) -> u64 {
        /// Of one cycle, on a busy machine.
        const CYCLE: u64 = 1;
        let cycles = self.cycles.unwrap_or_default().saturating_mul(CYCLE);
        cycles.saturating_add(self.stress_seconds.unwrap_or_default())
    }
}

/// Runs the given tests, some of a job's, and sets their results.
pub type RunFn = dyn Fn(&Host, &[String], &Results) + Send;

/// The tests of one VM.
pub struct Job {
    /// Full names.
    pub tests: Vec<String>,
    /// Why this kernel cannot run them, if it cannot.
    pub ignored: Option<&'static str>,
    pub run: Box<RunFn>,
}

/// Every job there is; those that take longest come first.
pub fn jobs(on_debug_kernel: bool) -> Vec<Job> {
    suites::ALL
        .iter()
        .map(|suite| suite::job(suite, on_debug_kernel))
        .chain(boots::jobs())
        .chain([benchmark::job()])
        .collect()
}

/// Runs the selected tests. `start` is only called when there are any.
pub fn run(
    arguments: &Arguments,
    jobs: Vec<Job>,
    start: impl FnOnce() -> Result<Host>,
) -> Result<Conclusion> {
    let results = Arc::new(Results::default());
    let trials = jobs
        .iter()
        .flat_map(|job| job.tests.iter().map(|name| (name, job.ignored)))
        .map(|(name, ignored)| trial(name, ignored, &results))
        .collect();
    let queue: VecDeque<_> = jobs
        .into_iter()
        .filter(|job| job.ignored.is_none())
        .filter_map(|job| {
            let tests: Vec<String> = job
                .tests
                .iter()
                .filter(|name| is_selected(arguments, name))
                .cloned()
                .collect();
            (!tests.is_empty()).then_some((job, tests))
        })
        .collect();
    if arguments.list || queue.is_empty() {
        return Ok(libtest_mimic::run(arguments, trials));
    }
    let host = start()?;
    let lanes = arguments
        .test_threads
        .unwrap_or(MAX_LANES)
        .clamp(1, MAX_LANES);
    let queue = Mutex::new(queue);
    Ok(thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| lane(&queue, &host, &results));
        }
        libtest_mimic::run(arguments, trials)
    }))
}

fn trial(name: &str, ignored: Option<&'static str>, results: &Arc<Results>) -> Trial {
    if let Some(why) = ignored {
        // Shown with its name, and as the failure of one that is asked for nevertheless.
        return Trial::test(name, || Err(why.into()))
            .with_kind(why)
            .with_ignored_flag(true);
    }
    let results = Arc::clone(results);
    let key = name.to_owned();
    Trial::test(name, move || results.wait(&key).map_err(Into::into))
}

fn lane(queue: &Mutex<VecDeque<(Job, Vec<String>)>>, host: &Host, results: &Results) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some((job, tests)) = next else { return };
        let _settle = Settle {
            tests: &tests,
            results,
        };
        (job.run)(host, &tests, results);
    }
}

/// Gives every test a result, also when its job panics: somebody waits for it.
struct Settle<'a> {
    tests: &'a [String],
    results: &'a Results,
}

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        for test in self.tests {
            self.results
                .set(test, Err("its job ended without a result".to_owned()));
        }
    }
}

/// As the test runner itself selects.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern)
        }
    };
    arguments.filter.as_ref().is_none_or(matches)
        && !arguments.skip.iter().any(matches)
        && !arguments.ignored
}
