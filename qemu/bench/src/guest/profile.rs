// SPDX-License-Identifier: GPL-2.0

//! Which functions the instructions of a piece of work are in: samples at equal distances of the
//! machine's clock, which are equal numbers of instructions.
//!
//! The clock interrupts the work, so what runs with interrupts off shows up where they are
//! switched on again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, Context, Result};
use perf_event::{events::Software, Builder, SampleFlag, Sampler};

use super::{meter::Work, symbols::Symbols};
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

/// Samples of one column.
pub(super) struct Profiler {
    sampler: Sampler,
    symbols: Symbols,
    counts: BTreeMap<String, Counts>,
    samples: u64,
    lost: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Samples in the function itself.
    own: u64,
    /// Samples in what it called.
    callees: u64,
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
            symbols: Symbols::load()?,
            counts: BTreeMap::new(),
            samples: 0,
            lost: 0,
        })
    }

    /// Does the work and takes its samples.
    pub(super) fn watch(&mut self, job: &mut dyn Work) -> Result<()> {
        job.get_ready()?;
        self.sampler.enable()?;
        let done = job.run();
        self.sampler.disable()?;
        done?;
        self.collect()
    }

    fn collect(&mut self) -> Result<()> {
        while let Some(record) = self.sampler.next_record() {
            let values = values(&record.to_contiguous());
            match (record.ty(), values.as_slice()) {
                (SAMPLE, [address, _, chain @ ..]) => {
                    count(&mut self.counts, &self.symbols, *address, chain);
                    self.samples += 1;
                }
                (LOST, [_, lost, ..]) => self.lost += lost,
                (SAMPLE | LOST, _) => {
                    bail!("a record of {} values", values.len())
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, rounds: u32) -> Result<Record> {
        Ok(Record::Profile {
            functions: self
                .counts
                .into_iter()
                .map(|(name, counts)| (name, counts.own, counts.callees))
                .collect(),
            samples: self.samples,
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

/// A function that called itself counts once.
fn count(counts: &mut BTreeMap<String, Counts>, symbols: &Symbols, address: u64, chain: &[u64]) {
    let name = |address: u64| match address {
        KERNEL.. => symbols.name(address),
        _ => USER,
    };
    let own = name(address);
    counts.entry(own.to_owned()).or_default().own += 1;
    let callers: BTreeSet<&str> = chain
        .iter()
        .filter(|&&address| (KERNEL..MARKS).contains(&address))
        .map(|&address| name(address))
        .filter(|&caller| caller != own)
        .collect();
    for caller in callers {
        counts.entry(caller.to_owned()).or_default().callees += 1;
    }
}
