// SPDX-License-Identifier: GPL-2.0

//! The terminal's side of long work: a progress bar, and Ctrl-C.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use erodax_initrd::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// Shows a bar on standard error if that is a terminal, and stops when told by a signal,
/// so that temporary files are removed.
pub(crate) struct Terminal {
    bar: RefCell<ProgressBar>,
    cancelled: Arc<AtomicBool>,
}

impl Terminal {
    pub(crate) fn new() -> io::Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&cancelled))?;
        }
        // Past a file-size limit writes shall fail rather than kill.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self {
            bar: RefCell::new(ProgressBar::hidden()),
            cancelled,
        })
    }
}

impl Progress for Terminal {
    fn begin(&self, what: &str, bytes: Option<u64>) {
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
            ),
            None => (ProgressBar::new_spinner(), "{msg} {spinner} {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what.to_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        self.bar.replace(bar);
    }

    fn advance(&self, bytes: u64) {
        self.bar.borrow().inc(bytes);
    }

    fn end(&self) {
        self.bar.borrow().finish_and_clear();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
