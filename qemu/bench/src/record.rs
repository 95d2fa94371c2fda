// SPDX-License-Identifier: GPL-2.0

//! What the guest reports, one JSON object per line.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{Column, Phase};

/// Where the guest writes them.
pub const GUEST_PORT: &str = erodax_agent::protocol::GUEST_PORT;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// The guest's program has started.
    Started {
        /// Release of the running kernel.
        kernel: String,
        /// Instructions since the kernel has a clock.
        at: u64,
    },
    /// The payload's first program has ended.
    FirstExec {
        /// Instructions since the kernel has a clock.
        at: u64,
    },
    /// Something was measured.
    Measured {
        /// What.
        column: Column,
        /// For the first time or again.
        phase: Phase,
        /// What it cost, in F.
        cost: u64,
        /// How much was done: bytes, pages, entries or runs.
        units: u64,
        /// Page faults taken meanwhile, also by programs that were run.
        faults: u64,
    },
    /// Memory of a moment.
    Memory {
        /// Free, in KiB.
        free: u64,
        /// In the page cache, in KiB.
        cached: u64,
    },
    /// Where the instructions of a column go.
    Profile {
        /// Samples by function; those of them in which it only was a caller come second.
        functions: Vec<(String, u64, u64)>,
        /// All samples.
        samples: u64,
        /// Samples that found no room.
        lost: u64,
        /// How often the column was measured with them.
        rounds: u32,
    },
    /// A column could not be measured; others follow.
    Broken {
        /// Which.
        column: Column,
        /// Why.
        message: String,
    },
    /// The guest gives up.
    Failed {
        /// Why.
        message: String,
    },
    /// The last line.
    Finished,
}

/// Takes the guest's lines apart.
///
/// # Errors
/// When a line is not understood, or the last one is missing.
pub fn parse(text: &str) -> Result<Vec<Record>> {
    let records: Vec<Record> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("line {line:?}")))
        .collect::<Result<_>>()?;
    if let Some(Record::Failed { message }) = records.last() {
        anyhow::bail!("the guest failed: {message}");
    }
    anyhow::ensure!(
        records.last() == Some(&Record::Finished),
        "the guest did not finish"
    );
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record) -> String {
        serde_json::to_string(record).unwrap() + "\n"
    }

    #[test]
    fn records_survive_the_wire() {
        let measured = Record::Measured {
            column: Column::Find,
            phase: Phase::Warm,
            cost: 12,
            units: 3,
            faults: 1,
        };
        let text = line(&measured) + &line(&Record::Finished);
        assert_eq!(parse(&text).unwrap(), [measured, Record::Finished]);
    }

    #[test]
    fn what_is_cut_short_or_failed_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse(&line(&Record::FirstExec { at: 1 })).is_err());
        assert!(parse("{\"type\":\"first-ex").is_err());
        let message = "no device".to_owned();
        let error = parse(&line(&Record::Failed { message })).unwrap_err();
        assert!(error.to_string().contains("no device"), "{error}");
    }
}
