// SPDX-License-Identifier: GPL-2.0

//! Where jobs leave the results of tests and where the test runner's threads wait for them.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// A test's result: `Err` has the reason of the failure.
pub type Outcome = Result<(), String>;

/// A failure's reason: what was tried, outermost first, and what went wrong with it.
pub fn reason(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Results by the full names of tests.
#[derive(Default)]
pub struct Results {
    done: Mutex<HashMap<String, Outcome>>,
    news: Condvar,
}

impl Results {
    /// The first result of a test counts.
    pub fn set(&self, name: &str, outcome: Outcome) {
        self.lock().entry(name.to_owned()).or_insert(outcome);
        self.news.notify_all();
    }

    /// Waits for a test's result.
    pub fn wait(&self, name: &str) -> Outcome {
        let mut done = self.lock();
        loop {
            if let Some(outcome) = done.get(name) {
                return outcome.clone();
            }
            done = self.news.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Outcome>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
