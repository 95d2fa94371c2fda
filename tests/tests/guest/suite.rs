// SPDX-License-Identifier: GPL-2.0

//! Runs a suite's tests in its VM.

use std::time::Duration;

use anyhow::Result;
use erodax_qemu::{Verdict, Vm};
use erodax_tests::{Expect, Suite, Test};

use crate::{
    images,
    plan::{Host, Job},
    results::{reason, Outcome, Results},
};

/// A lost VM is replaced for the tests that come after, but not for ever.
const MAX_BOOTS: usize = 3;

pub fn job(suite: &'static Suite, on_debug_kernel: bool) -> Job {
    Job {
        ignored: match on_debug_kernel {
            true if suite.machine.needs_stock_kernel => Some("needs the stock kernel: make test"),
            false if suite.machine.needs_debug_kernel => {
                Some("needs the debug kernel: make test-debug")
            }
            _ => None,
        },
        tests: suite
            .tests
            .iter()
            .map(|test| full_name(suite, test))
            .collect(),
        run: Box::new(|host, selected, results| run(suite, host, selected, results)),
    }
}

fn full_name(suite: &Suite, test: &Test) -> String {
    format!("{}::{}", suite.name, test.name)
}

fn run(suite: &Suite, host: &Host, selected: &[String], results: &Results) {
    let mut runner = Runner {
        suite,
        host,
        vm: None,
        boots: 0,
    };
    let tests: Vec<&Test> = suite
        .tests
        .iter()
        .filter(|test| selected.contains(&full_name(suite, test)))
        .collect();
    for (index, test) in tests.iter().enumerate() {
        let mut outcome = runner.run(test);
        if index + 1 == tests.len() {
            // What the kernel says while the VM powers off belongs to somebody.
            outcome = outcome.and(runner.finish());
        }
        results.set(&full_name(suite, test), outcome);
    }
}

struct Runner<'a> {
    suite: &'a Suite,
    host: &'a Host,
    vm: Option<Vm>,
    boots: usize,
}

impl Runner<'_> {
    fn run(&mut self, test: &Test) -> Outcome {
        let mut vm = match self.vm.take() {
            Some(vm) => vm,
            None => self.boot().map_err(|error| reason(&error))?,
        };
        let more = self.host.effort.seconds();
        let limit = Duration::from_secs(test.limit.saturating_add(more));
        let verdict = match vm.run(self.suite.name, test.name, limit) {
            Ok(verdict) => {
                self.vm = Some(vm);
                verdict
            }
            Err(lost) => Verdict::Failed(reason(&lost)),
        };
        judge(test.expect, verdict)
    }

    fn boot(&mut self) -> Result<Vm> {
        anyhow::ensure!(
            self.boots < MAX_BOOTS,
            "not run: this suite lost {MAX_BOOTS} VMs"
        );
        self.boots += 1;
        let mut scenario = images::scenario(&self.host.environment, self.suite, self.host.effort)?;
        if self.boots > 1 {
            // The lost VM's log stays: a failure has named it.
            scenario.name = format!("{}-{}", scenario.name, self.boots);
        }
        let vm = Vm::boot(&self.host.environment, self.host.accelerator, &scenario)?;
        let expected = &self.host.environment.kernel_release;
        anyhow::ensure!(
            vm.kernel() == expected,
            "the kernel is {}, not {expected}",
            vm.kernel()
        );
        Ok(vm)
    }

    fn finish(&mut self) -> Outcome {
        match self.vm.take() {
            Some(vm) => vm.shut_down().map_err(|error| reason(&error)),
            None => Ok(()),
        }
    }
}

fn judge(expect: Expect, verdict: Verdict) -> Outcome {
    match (expect, verdict) {
        (Expect::Pass, Verdict::Passed) => Ok(()),
        (Expect::Pass, Verdict::Failed(reason)) => Err(reason),
        (Expect::Failure(_), Verdict::Passed) => Err("the harness did not notice".to_owned()),
        (Expect::Failure(text), Verdict::Failed(reason)) if reason.contains(text) => Ok(()),
        (Expect::Failure(text), Verdict::Failed(reason)) => {
            Err(format!("the reason lacks {text:?}: {reason}"))
        }
    }
}
