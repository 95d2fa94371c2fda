// SPDX-License-Identifier: GPL-2.0

//! The results as files of the repository.

use std::{fs, path::Path, process::Command};

use anyhow::{ensure, Context, Result};
use erodax_bench::{Column, Phase};

use super::{
    chart,
    figures::Figures,
    table::Table,
    units::{unit, value},
};

const DIRECTORY: &str = "docs/bench";
const README: &str = "README.md";
/// Around the table in the README.
const BEGIN: &str = "<!-- make bench ARGS=--save writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// What was measured.
pub(crate) struct Results<'a> {
    pub(crate) kernel: &'a str,
    pub(crate) columns: &'a [Column],
    pub(crate) rows: &'a [Figures],
    /// A line on the circumstances.
    pub(crate) caption: String,
}

/// Writes all of them to the checkout that is the current directory.
pub(crate) fn save(results: &Results<'_>) -> Result<()> {
    let directory = Path::new(DIRECTORY);
    ensure!(
        directory.is_dir() && Path::new(README).is_file(),
        "--save writes to {DIRECTORY} and {README}: start it at the top of the checkout"
    );
    let date = today()?;
    let caption = format!("{}, {date}", results.caption);
    write_csv(&directory.join("results.csv"), results, &date)?;
    for (name, group) in chart::GROUPS {
        let columns: Vec<Column> = group
            .iter()
            .copied()
            .filter(|column| results.columns.contains(column))
            .collect();
        if !columns.is_empty() {
            let path = directory.join(format!("{name}.svg"));
            chart::draw(&path, &columns, results.rows, &caption)?;
        }
    }
    let tables = tables(results, &caption);
    fs::write(
        directory.join("results.md"),
        format!("# Results\n\n{tables}"),
    )?;
    let readme = fs::read_to_string(README)?;
    let table = Table::of_figures(results.columns, results.rows).markdown();
    let readme = replace_between(&readme, &format!("{caption}:\n\n{table}"))
        .with_context(|| format!("{README} lacks the lines around the table"))?;
    Ok(fs::write(README, readme)?)
}

fn tables(results: &Results<'_>, caption: &str) -> String {
    let Results { columns, rows, .. } = results;
    let tables = [
        Some(Table::of_figures(columns, rows)),
        Table::of_faults(columns, rows),
        Table::of_bulk(columns, rows),
    ];
    let tables: Vec<String> = tables
        .iter()
        .flatten()
        .map(|table| table.markdown())
        .collect();
    format!("{caption}.\n\n{}", tables.join("\n"))
}

fn replace_between(text: &str, inner: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{inner}{END}{after}"))
}

/// One line for each figure.
fn write_csv(path: &Path, results: &Results<'_>, date: &str) -> Result<()> {
    let mut file =
        csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_record([
        "kernel",
        "date",
        "peer",
        "column",
        "phase",
        "value",
        "unit",
        "cost_f",
        "units",
        "page_faults",
        "bulk_bytes",
    ])?;
    for figures in results.rows {
        for &column in results.columns {
            for &phase in unit(column).phases() {
                let Some(value) = value(figures, column, phase) else {
                    continue;
                };
                let mut record = vec![
                    results.kernel.to_owned(),
                    date.to_owned(),
                    figures.row.name.to_owned(),
                    column.to_string(),
                    phase.to_string(),
                    format!("{value:.3}"),
                    unit(column).unit.to_owned(),
                ];
                record.extend(raw(figures, column, phase));
                file.write_record(record)?;
            }
        }
    }
    Ok(file.flush()?)
}

/// What the value was made of; empty where there is no such thing.
fn raw(figures: &Figures, column: Column, phase: Phase) -> [String; 4] {
    match figures.costs.get(&(column, phase)) {
        None => Default::default(),
        Some(cost) => [
            cost.cost.to_string(),
            cost.units.to_string(),
            cost.faults.to_string(),
            cost.bulk.map(|bytes| bytes.to_string()).unwrap_or_default(),
        ],
    }
}

fn today() -> Result<String> {
    let output = Command::new("date")
        .args(["--utc", "+%Y-%m-%d"])
        .output()
        .context("cannot run date")?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{figures::Cost, rows::ROWS},
        *,
    };

    fn rows() -> [Figures; 1] {
        let cost = Cost {
            cost: 2_000_000,
            units: 4_000_000,
            faults: 7,
            bulk: Some(80),
        };
        [Figures {
            row: &ROWS[0],
            memory: Some(1.05),
            costs: [((Column::Read, Phase::Warm), cost)].into(),
        }]
    }

    #[test]
    fn only_what_was_measured_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows = rows();
        let results = Results {
            kernel: "7.3.4",
            columns: &[Column::Read, Column::Memory],
            rows: &rows,
            caption: String::new(),
        };
        write_csv(file.path(), &results, "2026-11-22").unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let name = ROWS[0].name;
        let read = "read,warm,2000.000,B/kF,2000000,4000000,7,80";
        let memory = "memory,cold,1.050,x tree,,,,";
        assert_eq!(
            lines,
            [read, memory].map(|line| format!("7.3.4,2026-11-22,{name},{line}"))
        );
    }

    #[test]
    fn the_table_in_the_readme_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let expected = format!("a\n{BEGIN}new\n{END}b\n");
        assert_eq!(replace_between(&text, "new\n"), Some(expected));
        assert_eq!(replace_between("a\nb\n", "new\n"), None);
    }
}
