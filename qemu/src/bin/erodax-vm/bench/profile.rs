// SPDX-License-Identifier: GPL-2.0

//! Which functions the instructions of a column go to.

use anyhow::{bail, Context, Result};
use erodax_bench::{Column, Phase, Record};
use erodax_qemu::{Environment, Strings};

use super::{images::Payload, machine::Task, rows, Arguments, PROFILED};

/// Functions that are shown.
const SHOWN: usize = 60;
/// Longer names are cut.
const NAME_WIDTH: usize = 100;

pub(crate) fn run(
    environment: &Environment,
    payload: &Payload,
    arguments: &Arguments,
    column: Column,
    phase: Phase,
) -> Result<bool> {
    let names = match arguments.rows.as_slice() {
        [] => vec![PROFILED.to_owned()],
        rows => rows.to_vec(),
    };
    for row in super::select(&names)? {
        let task = Task {
            profile: Some(phase),
            ..Task::new(row, &[column], Strings::Words)
        };
        let mut records = task.run(environment, payload).context(row.title)?;
        println!("{}: {column} {phase}", row.title);
        if column == Column::FirstExec {
            // It happens once, and the profiler's interrupts must not count.
            records.retain(|record| matches!(record, Record::Profile { .. }));
            records.extend(Task::new(row, &[], Strings::Words).run(environment, payload)?);
            let empty = Task::new(&rows::EMPTY, &[], Strings::Words).run(environment, payload)?;
            let before = started(&records)?.saturating_sub(started(&empty)?);
            println!("{before} F beyond an empty initramfs before /init runs; from there on:");
        }
        print!("{}", show(&records, column, phase)?);
    }
    Ok(true)
}

/// When the guest's program has started.
fn started(records: &[Record]) -> Result<u64> {
    let at = |record: &Record| match record {
        Record::Started { at, .. } => Some(*at),
        _ => None,
    };
    records
        .iter()
        .find_map(at)
        .context("the guest did not start")
}

/// What a unit costs without the profiler; the first program, from where /init runs.
fn cost(records: &[Record], wanted: Phase) -> Result<f64> {
    let cost = |record: &Record| match *record {
        Record::Measured {
            phase, cost, units, ..
        } if phase == wanted => Some(cost as f64 / units as f64),
        Record::FirstExec { at } => Some(at as f64 - started(records).ok()? as f64),
        _ => None,
    };
    let last = records.iter().rev().find_map(cost);
    last.context("the guest measured nothing")
}

/// A line of the profile.
struct Function<'a> {
    name: &'a str,
    own: u64,
    all: u64,
}

fn show(records: &[Record], column: Column, wanted: Phase) -> Result<String> {
    let Some((functions, samples, lost, rounds)) = records.iter().find_map(|record| match record {
        Record::Profile {
            functions,
            samples,
            lost,
            rounds,
        } => Some((functions, *samples, *lost, *rounds)),
        _ => None,
    }) else {
        match super::broken(records).next() {
            Some((column, message)) => bail!("column {column}: {message}"),
            None => bail!("the guest took no profile"),
        }
    };
    let (unit, units) = match column {
        Column::Read => ("KiB", 1024.0),
        _ => ("unit", 1.0),
    };
    let each = cost(records, wanted)? * units;
    let mut lines: Vec<Function> = functions
        .iter()
        .map(|(name, own, callees)| Function {
            name,
            own: *own,
            all: own + callees,
        })
        .collect();
    lines.sort_by_key(|function| std::cmp::Reverse((function.own, function.all)));
    let mut text = format!(
        "{each:.0} F for each {unit}; {samples} samples in {rounds} rounds, {lost} lost\n\
         {:>8} {:>9} {:>8} {:>9}  function\n",
        "own %", "own F", "all %", "all F"
    );
    for function in lines.iter().take(SHOWN) {
        let share = |count: u64| count as f64 / samples as f64;
        let (own, all) = (share(function.own), share(function.all));
        text.push_str(&format!(
            "{:>8.2} {:>9.1} {:>8.2} {:>9.1}  {}\n",
            own * 100.0,
            own * each,
            all * 100.0,
            all * each,
            readable(function.name)
        ));
    }
    Ok(text)
}

/// Rust's names as they stand in the source, without hashes.
fn readable(name: &str) -> String {
    let (symbol, module) = name.split_once(' ').unwrap_or((name, ""));
    let symbol = format!("{:#}", rustc_demangle::demangle(symbol));
    let name = format!("{symbol} {module}");
    name.trim_end().chars().take(NAME_WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_measured_cost() {
        let records = [
            Record::Measured {
                column: Column::Find,
                phase: Phase::Cold,
                cost: 2000,
                units: 2,
                faults: 0,
            },
            Record::Profile {
                functions: vec![("caller".to_owned(), 1, 3), ("callee [m]".to_owned(), 3, 0)],
                samples: 4,
                lost: 0,
                rounds: 1,
            },
        ];
        let text = show(&records, Column::Find, Phase::Cold).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[2],
            ["75.00", "750.0", "75.00", "750.0", "callee", "[m]"]
        );
        assert_eq!(lines[3], ["25.00", "250.0", "100.00", "1000.0", "caller"]);
        assert!(show(&records, Column::Find, Phase::Warm).is_err());
        assert!(show(&records[..1], Column::Find, Phase::Cold).is_err());
    }

    #[test]
    fn names_of_rust_can_be_read() {
        assert_eq!(readable("vfs_read"), "vfs_read");
        assert_eq!(
            readable("_RNvNtCsabc123_6erodax2fs4read [erodax]"),
            "erodax::fs::read [erodax]"
        );
    }
}
