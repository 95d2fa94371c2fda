// SPDX-License-Identifier: GPL-2.0

//! Which functions the instructions of a piece of work are in: samples at equal distances of the
//! machine's clock, which are equal numbers of instructions.
//!
//! The clock interrupts the work, so what runs with interrupts off shows up where they are
//! switched on again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use perf_event::{events::Software, Builder, SampleFlag, Sampler};

use super::symbols::Symbols;
use crate::Record;

/// Instructions from one sample to the next. The kernel has 10000 as the least; a prime does not
/// fall into step with a loop.
const PERIOD: u64 = 10_007;
/// Room for the samples of one piece of work, a power of two.
const RING: usize = 32 << 20;
/// Values in a call chain that are no addresses: `PERF_CONTEXT_MAX`.
const MARKS: u64 = -4095_i64 as u64;
/// `PERF_RECORD_LOST`, two values: the counter's number, and how many samples.
const LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`, here the address, how long the call chain is, and the chain.
const SAMPLE: u32 = 9;
/// Addresses of the kernel's half.
const KERNEL: u64 = 1 << 63;
/// What is not the kernel's.
const USER: &str = "(user)";

/// Takes samples.
pub(super) struct Profiler {
    sampler: Sampler,
    /// The address, how long the call chain is, and the chain.
    samples: Vec<Vec<u64>>,
    lost: u64,
}

impl Profiler {
    pub(super) fn new() -> Result<Self> {
        let sampler = Builder::new(Software::CPU_CLOCK)
            .any_pid()
            .one_cpu(0)
            .include_kernel()
            .exclude_idle(true)
            .exclude_callchain_user(true)
            .sample_period(PERIOD)
            .sample(SampleFlag::IP | SampleFlag::CALLCHAIN)
            .build()
            .context("perf_event_open")?
            .sampled(RING)
            .context("cannot map the samples")?;
        Ok(Self {
            sampler,
            samples: Vec::new(),
            lost: 0,
        })
    }

    /// Takes samples of what `work` does.
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.sampler.enable()?;
        let done = work();
        self.sampler.disable()?;
        self.collect();
        done
    }

    fn collect(&mut self) {
        while let Some(record) = self.sampler.next_record() {
            let values = values(&record.to_contiguous());
            match (record.ty(), values.as_slice()) {
                (SAMPLE, [_, _, ..]) => self.samples.push(values),
                (LOST, [_, lost, ..]) => self.lost += lost,
                _ => {}
            }
        }
    }

    /// What came of so many rounds. Modules that were loaded meanwhile have their symbols, too.
    pub(super) fn finish(self, rounds: u32) -> Result<Record> {
        let symbols = Symbols::load()?;
        Ok(Record::Profile {
            functions: count(&self.samples, &symbols)
                .into_iter()
                .map(|(name, counts)| (name.to_owned(), counts.own, counts.callees))
                .collect(),
            samples: u64::try_from(self.samples.len())?,
            lost: self.lost,
            rounds,
        })
    }
}

fn values(record: &[u8]) -> Vec<u64> {
    let words = record.chunks_exact(size_of::<u64>());
    words
        .filter_map(|word| word.try_into().ok())
        .map(u64::from_ne_bytes)
        .collect()
}

/// Samples by function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// In the function itself.
    own: u64,
    /// In what it called.
    callees: u64,
}

/// A function that called itself counts once.
fn count<'a>(samples: &[Vec<u64>], symbols: &'a Symbols) -> BTreeMap<&'a str, Counts> {
    let name = |address: u64| match address {
        KERNEL.. => symbols.name(address),
        _ => USER,
    };
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for sample in samples {
        let [address, _, chain @ ..] = sample.as_slice() else {
            continue;
        };
        let own = name(*address);
        counts.entry(own).or_default().own += 1;
        let callers: BTreeSet<&str> = chain
            .iter()
            .filter(|&&address| (KERNEL..MARKS).contains(&address))
            .map(|&address| name(address))
            .filter(|&caller| caller != own)
            .collect();
        for caller in callers {
            counts.entry(caller).or_default().callees += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: u64 = KERNEL;
    const INNER: u64 = KERNEL + 0x100;

    #[test]
    fn a_caller_counts_once_for_a_sample() {
        let symbols = Symbols::parse("8000000000000000 t outer\n8000000000000100 t inner\n");
        let counts = count(
            &[
                vec![INNER + 1, 4, MARKS + 1, INNER + 1, OUTER + 5, OUTER + 1],
                vec![OUTER, 2, MARKS + 1, OUTER],
                vec![0x1000, 0],
            ],
            &symbols,
        );
        let found = |name| {
            let Counts { own, callees } = counts[name];
            (own, callees)
        };
        assert_eq!(found("inner"), (1, 0));
        assert_eq!(found("outer"), (1, 1));
        assert_eq!(found(USER), (1, 0));
    }

    #[test]
    fn records_are_words() {
        let bytes = [7_u64.to_ne_bytes(), 8_u64.to_ne_bytes()].concat();
        assert_eq!(values(&bytes), [7, 8]);
        assert_eq!(values(&bytes[..12]), [7]);
    }
}
