// SPDX-License-Identifier: GPL-2.0

//! What is being done, on standard error: a spinner on a terminal, else a line for each step.

use std::{
    io::{stderr, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    since: Instant,
    name: String,
}

impl Steps {
    /// Begins the first step.
    pub(crate) fn begin(name: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        let mut steps = Self {
            bar,
            since: Instant::now(),
            name: String::new(),
        };
        steps.start(name);
        steps
    }

    /// Ends the step and begins the next.
    pub(crate) fn next(&mut self, name: &str) {
        self.finish();
        self.start(name);
    }

    /// Shows how far the step is.
    pub(crate) fn detail(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.name));
        }
    }

    /// Ends the last step.
    pub(crate) fn end(self) {
        self.finish();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn start(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.since = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.reset_elapsed();
                bar.set_message(name.to_owned());
            }
            None => eprintln!("{name} ..."),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            let seconds = self.since.elapsed().as_secs_f64();
            bar.suspend(|| eprintln!("  {} ({seconds:.1} s)", self.name));
        }
    }
}
