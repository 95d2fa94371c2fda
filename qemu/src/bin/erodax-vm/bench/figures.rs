// SPDX-License-Identifier: GPL-2.0

//! What the records of a machine amount to.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use erodax_bench::{Column, Phase, Record};

use super::rows::Row;

/// What an empty initramfs takes.
pub(crate) struct Baseline {
    /// When its program has started, in F.
    started: u64,
    /// Free memory then, in KiB.
    free: u64,
    /// The tree's size in bytes.
    payload: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
}

impl Baseline {
    pub(crate) fn new(records: &[Record], payload: u64) -> Result<Self> {
        let (kernel, started) = records
            .iter()
            .find_map(|record| match record {
                Record::Started { kernel, at } => Some((kernel.clone(), *at)),
                _ => None,
            })
            .context("the empty initramfs did not start")?;
        Ok(Self {
            started,
            free: free_memory(records).context("the empty initramfs did not report its memory")?,
            payload,
            kernel,
        })
    }
}

fn free_memory(records: &[Record]) -> Option<u64> {
    records.iter().find_map(|record| match record {
        Record::Memory { free, .. } => Some(*free),
        _ => None,
    })
}

/// What one row's machine has measured.
pub(crate) struct Figures {
    pub(crate) row: &'static Row,
    /// Memory in use after reading everything, above that of an empty initramfs, as a multiple of
    /// the tree.
    pub(crate) memory: Option<f64>,
    /// The other columns. The first program's is what it takes beyond the start of an empty
    /// initramfs.
    pub(crate) costs: BTreeMap<(Column, Phase), Cost>,
}

/// What a column costs, the median of all times that it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// F.
    pub(crate) cost: u64,
    /// Bytes, pages, entries or runs.
    pub(crate) units: u64,
    /// Page faults.
    pub(crate) faults: u64,
    /// Bytes moved in bulk, if it was measured how many.
    pub(crate) bulk: Option<u64>,
}

impl Figures {
    pub(crate) fn new(row: &'static Row, records: &[Record], baseline: &Baseline) -> Result<Self> {
        let memory = free_memory(records).map(|free| {
            baseline.free.saturating_sub(free) as f64 * 1024.0 / baseline.payload as f64
        });
        let mut rounds: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in records {
            let (key, round) = match *record {
                Record::FirstExec { at } => (
                    (Column::FirstExec, Phase::Cold),
                    (at.saturating_sub(baseline.started), 1, 0),
                ),
                Record::Measured {
                    column,
                    phase,
                    cost,
                    units,
                    faults,
                } => ((column, phase), (cost, units, faults)),
                _ => continue,
            };
            rounds.entry(key).or_default().push(round);
        }
        let costs = rounds
            .into_iter()
            .map(|(key, mut rounds)| {
                let (cost, units, faults) = median(&mut rounds);
                let measured = Cost {
                    cost,
                    units,
                    faults,
                    bulk: None,
                };
                (key, measured)
            })
            .collect();
        Ok(Self { row, memory, costs })
    }

    /// Learns from `bytes`, measured where the kernel moves memory byte by byte instead of eight
    /// bytes at a time, how much is moved so.
    pub(crate) fn split(&mut self, bytes: &Self) {
        for (key, cost) in &mut self.costs {
            let other = bytes.costs.get(key);
            cost.bulk = other.map(|other| other.cost.saturating_sub(cost.cost) * 8 / 7);
        }
    }

    /// The part of a cost that is moving memory in bulk.
    pub(crate) fn bulk_share(&self, key: &(Column, Phase)) -> Option<f64> {
        let cost = self.costs.get(key)?;
        Some(cost.bulk? as f64 / 8.0 / cost.cost as f64)
    }
}

/// By the first of the values; of two in the middle the lower.
fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

impl Cost {
    /// F for each unit.
    pub(crate) fn each(&self) -> f64 {
        self.cost as f64 / self.units as f64
    }

    /// Units for each 1000 F.
    pub(crate) fn rate(&self) -> f64 {
        self.units as f64 * 1000.0 / self.cost as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows::ROWS, *};

    const READ: (Column, Phase) = (Column::Read, Phase::Cold);

    fn measured(cost: u64) -> Record {
        Record::Measured {
            column: READ.0,
            phase: READ.1,
            cost,
            units: 4000,
            faults: 2,
        }
    }

    fn baseline() -> Baseline {
        let started = Record::Started {
            kernel: "7.3".to_owned(),
            at: 100,
        };
        let memory = Record::Memory {
            free: 1000,
            cached: 0,
        };
        Baseline::new(&[started, memory], 1024 * 100).unwrap()
    }

    fn figures(records: &[Record]) -> Figures {
        Figures::new(&ROWS[0], records, &baseline()).unwrap()
    }

    #[test]
    fn the_median_of_the_rounds_counts() {
        let cost = figures(&[measured(3000), measured(1000), measured(2000)]).costs[&READ];
        assert_eq!((cost.cost, cost.faults), (2000, 2));
        assert_eq!((cost.rate(), cost.each()), (2000.0, 0.5));
        let cost = figures(&[measured(3000), measured(1000)]).costs[&READ];
        assert_eq!(cost.cost, 1000);
    }

    #[test]
    fn what_an_empty_initramfs_takes_is_subtracted() {
        let memory = Record::Memory {
            free: 895,
            cached: 9,
        };
        let figures = figures(&[Record::FirstExec { at: 350 }, memory]);
        assert_eq!(figures.costs[&(Column::FirstExec, Phase::Cold)].cost, 250);
        assert_eq!(figures.memory, Some(1.05));
        assert!(Baseline::new(&[], 1).is_err());
    }

    #[test]
    fn bulk_is_what_costs_eight_times_as_much() {
        // 900 instructions and 800 bytes.
        let mut words = figures(&[measured(1000)]);
        words.split(&figures(&[measured(1700)]));
        assert_eq!(words.costs[&READ].bulk, Some(800));
        assert_eq!(words.bulk_share(&READ), Some(0.1));
    }
}
