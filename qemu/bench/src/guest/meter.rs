// SPDX-License-Identifier: GPL-2.0

//! What a piece of work costs.

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::{Context, Result};
use rustix::time::{clock_gettime, ClockId};

/// Instructions since the kernel has a clock: a measured machine's clock advances by a nanosecond
/// with each (QEMU's `-icount shift=0`), and does not stand still when the machine is idle.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    u64::try_from(nanoseconds).unwrap_or_default()
}

/// A piece of work that can be done again.
pub(super) trait Work {
    /// What is to be done before it, each time, and is not measured.
    fn get_ready(&mut self) -> Result<()> {
        Ok(())
    }

    /// Does it, and says how many units.
    fn run(&mut self) -> Result<u64>;
}

impl<F: FnMut() -> Result<u64>> Work for F {
    fn run(&mut self) -> Result<u64> {
        self()
    }
}

/// Work on a tree.
pub(super) type Job<'a> = Box<dyn Work + 'a>;

/// Measures work of this process and of the programs that it runs.
pub(super) struct Meter {
    /// Kept open: some work is done in another root.
    stat: File,
}

/// What a piece of work has cost.
pub(super) struct Measured {
    /// In F.
    pub(super) cost: u64,
    /// What the work said.
    pub(super) units: u64,
    /// Page faults.
    pub(super) faults: u64,
}

impl Meter {
    pub(super) fn new() -> Result<Self> {
        let stat = File::open("/proc/self/stat").context("no /proc/self/stat")?;
        Ok(Self { stat })
    }

    pub(super) fn measure(&self, job: &mut dyn Work) -> Result<Measured> {
        job.get_ready()?;
        let faults = self.faults()?;
        let start = now();
        let units = job.run()?;
        let cost = now() - start;
        Ok(Measured {
            cost,
            units,
            faults: self.faults()? - faults,
        })
    }

    fn faults(&self) -> Result<u64> {
        let mut buffer = [0; 1024];
        let length = self.stat.read_at(&mut buffer, 0)?;
        parse_faults(&String::from_utf8_lossy(&buffer[..length])).context("/proc/self/stat")
    }
}

/// The sum of `minflt`, `cminflt`, `majflt` and `cmajflt`: fields 10 to 13, counted from 1. The
/// second one is a name in parentheses that may hold anything.
fn parse_faults(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    fields
        .get(7..11)?
        .iter()
        .map(|field| field.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_process_and_of_its_children() {
        let stat = "1 (a) b) R 0 1 1 0 -1 4194560 100 20 3 4 5 6 7 8 20 0 1 0 9";
        assert_eq!(parse_faults(stat), Some(127));
        assert_eq!(parse_faults("1 (a) R 0 1"), None);
    }

    #[test]
    fn work_is_done_once_and_counted() {
        let meter = Meter::new().unwrap();
        let mut done = 0;
        let mut work = || {
            done += 1;
            Ok(7)
        };
        let measured = meter.measure(&mut work).unwrap();
        assert_eq!((measured.units, done), (7, 1));
        assert!(measured.cost > 0);
    }
}
