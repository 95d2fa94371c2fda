// SPDX-License-Identifier: GPL-2.0

//! `erodax-vm bench`: what the same tree costs in each of the ways to boot it from memory.

mod chart;
mod figures;
mod images;
mod machine;
mod profile;
mod rows;
mod save;
mod table;
mod units;

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{bail, Context, Result};
use clap::Args;
use erodax_bench::{Column, Phase, Record};
use erodax_qemu::{Environment, Strings};

use figures::{Baseline, Figures};
use images::Payload;
use machine::Task;
use rows::Row;
use save::Results;
use table::Table;

/// A profile is of this row when none is named.
const PROFILED: &str = "erodax";

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these peers, separated by commas; `--rows help` lists them.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these columns, separated by commas.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<Column>,
    /// Which functions the instructions of a column go to, instead of a table: a column's name, and
    /// `:warm` behind it for the second time.
    #[arg(long, value_parser = parse_profiled)]
    profile: Option<(Column, Phase)>,
    /// Also measure how many bytes are moved in bulk: each peer is booted twice.
    #[arg(long)]
    split: bool,
    /// Write the results to docs/bench and README.md, in the checkout that is the current directory.
    #[arg(long)]
    save: bool,
    /// Machines at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn parse_profiled(text: &str) -> Result<(Column, Phase)> {
    match text.split_once(':') {
        Some((column, phase)) => Ok((column.parse()?, phase.parse()?)),
        None => Ok((text.parse()?, Phase::Cold)),
    }
}

/// Returns whether every peer could be measured.
pub(crate) fn bench(arguments: &Arguments) -> Result<bool> {
    if arguments.rows.iter().any(|name| name == "help") {
        rows::ROWS.iter().for_each(|row| println!("{row}"));
        return Ok(true);
    }
    let environment = Environment::from_env()?;
    let payload = images::payload(&environment)?;
    if let Some((column, phase)) = arguments.profile {
        return profile::run(&environment, &payload, arguments, column, phase);
    }
    let rows = select(&arguments.rows)?;
    let columns = match arguments.columns.as_slice() {
        [] => Column::ALL.to_vec(),
        // In the order in which they must be measured.
        some => Column::ALL
            .into_iter()
            .filter(|column| some.contains(column))
            .collect(),
    };
    let mut tasks = vec![Task::new(&rows::EMPTY, &[], Strings::Words)];
    for row in rows {
        tasks.push(Task::new(row, &columns, Strings::Words));
        if arguments.split {
            tasks.push(Task::new(row, &columns, Strings::Bytes));
        }
    }
    let results = run_all(&environment, &payload, tasks, arguments.jobs.max(1));
    report(arguments, &payload, &columns, results)
}

fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(rows::ROWS.iter().collect());
    }
    let find = |name: &String| {
        rows::ROWS
            .iter()
            .find(|row| row.name == name)
            .with_context(|| format!("no row is called {name:?}: --rows help lists them"))
    };
    names.iter().map(find).collect()
}

type Outcome = (Task, Result<Vec<Record>>);

/// The results are in the order of the tasks.
fn run_all(
    environment: &Environment,
    payload: &Payload,
    tasks: Vec<Task>,
    jobs: usize,
) -> Vec<Outcome> {
    let queue: Mutex<VecDeque<_>> = Mutex::new(tasks.into_iter().enumerate().collect());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((at, task)) = next() {
                    let start = Instant::now();
                    let result = task.run(environment, payload);
                    let seconds = start.elapsed().as_secs();
                    match &result {
                        Ok(_) => eprintln!("{}: {seconds} s", task.row.name),
                        Err(error) => eprintln!("{}: {error:#}", task.row.name),
                    }
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((at, (task, result)));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Columns that a machine could not measure.
fn broken(records: &[Record]) -> impl Iterator<Item = (Column, &str)> {
    records.iter().filter_map(|record| match record {
        Record::Broken { column, message } => Some((*column, message.as_str())),
        _ => None,
    })
}

fn report(
    arguments: &Arguments,
    payload: &Payload,
    columns: &[Column],
    results: Vec<Outcome>,
) -> Result<bool> {
    let mut complete = true;
    let mut baseline = None;
    let mut measured: Vec<Figures> = Vec::new();
    for (task, result) in results {
        let Ok(records) = result else {
            complete = false;
            continue;
        };
        if task.row.name == rows::EMPTY.name {
            baseline = Some(Baseline::new(&records, payload.bytes)?);
            continue;
        }
        let Some(baseline) = &baseline else {
            bail!("an empty initramfs could not be measured, and nothing compared with it");
        };
        for (column, message) in broken(&records) {
            complete = false;
            eprintln!("{}: column {column}: {message}", task.row.name);
        }
        let figures = Figures::new(task.row, &records, baseline)?;
        match measured.last_mut() {
            Some(words) if task.strings == Strings::Bytes && words.row.name == task.row.name => {
                words.split(&figures);
            }
            _ if task.strings == Strings::Bytes => {}
            _ => measured.push(figures),
        }
    }
    let Some(Baseline { kernel, .. }) = &baseline else {
        bail!("nothing was measured");
    };
    let mib = payload.bytes as f64 / f64::from(1 << 20);
    let caption = format!("Kernel {kernel}, {mib:.1} MiB of files");
    println!("{caption}");
    let tables = [
        Some(Table::of_figures(columns, &measured)),
        Table::of_faults(columns, &measured),
        Table::of_bulk(columns, &measured),
    ];
    for table in tables.iter().flatten() {
        println!("\n{}", table.text().trim_end());
    }
    if arguments.save {
        save::save(&Results {
            kernel,
            columns,
            rows: &measured,
            caption,
        })?;
    }
    Ok(complete)
}
