// SPDX-License-Identifier: GPL-2.0

//! The table.

use erodax_bench::{Column, Phase};

use super::figures::Figures;

/// A column as people read it: title and unit, and a cell for each row.
struct Shown {
    title: &'static str,
    cell: fn(&Figures) -> String,
}

/// What is known of a column, in one cell.
fn shown(column: Column) -> Shown {
    let (title, cell): (_, fn(&Figures) -> String) = match column {
        Column::FirstExec => ("first exec, MF", |figures| {
            optional(figures.first_exec.map(|cost| cost as f64 / 1e6), 1)
        }),
        Column::Memory => ("memory, x", |figures| optional(figures.memory, 2)),
        Column::Read => ("read, B/kF", |figures| {
            both(figures, Column::Read, |cost| format!("{:.0}", cost.rate()))
        }),
        Column::MmapSeq => ("mmap seq, F/page (faults)", |figures| {
            mapped(figures, Column::MmapSeq)
        }),
        Column::MmapRandom => ("mmap random, F/page (faults)", |figures| {
            mapped(figures, Column::MmapRandom)
        }),
        Column::Pread => ("pread 4K, F", |figures| each(figures, Column::Pread)),
        Column::Find => ("find, F/entry", |figures| each(figures, Column::Find)),
        Column::Lookup => ("lookup, F", |figures| each(figures, Column::Lookup)),
        Column::ExecTrue => ("true, kF", |figures| program(figures, Column::ExecTrue)),
        Column::ExecPerl => ("perl, kF", |figures| program(figures, Column::ExecPerl)),
    };
    Shown { title, cell }
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Cold and warm.
fn both(
    figures: &Figures,
    column: Column,
    show: impl Fn(&super::figures::Cost) -> String,
) -> String {
    let one = |phase| {
        let cost = figures.costs.get(&(column, phase));
        cost.map_or_else(|| "-".to_owned(), &show)
    };
    format!("{} / {}", one(Phase::Cold), one(Phase::Warm))
}

fn each(figures: &Figures, column: Column) -> String {
    both(figures, column, |cost| format!("{:.0}", cost.each()))
}

fn program(figures: &Figures, column: Column) -> String {
    both(figures, column, |cost| format!("{:.0}", cost.each() / 1e3))
}

fn mapped(figures: &Figures, column: Column) -> String {
    both(figures, column, |cost| {
        format!("{:.0} ({})", cost.each(), cost.faults)
    })
}

/// Which part of the costs is moving memory in bulk, where that is known.
pub(crate) fn bulk(columns: &[Column], rows: &[Figures]) -> Option<String> {
    let shares: Vec<Column> = columns
        .iter()
        .copied()
        .filter(|column| {
            let known = |key| rows.iter().any(|row| row.bulk_share(&key).is_some());
            Phase::ALL.into_iter().any(|phase| known((*column, phase)))
        })
        .collect();
    if shares.is_empty() {
        return None;
    }
    let mut lines = vec![vec!["bulk, % of F".to_owned()]];
    lines[0].extend(shares.iter().map(|column| column.name().to_owned()));
    for figures in rows {
        let mut line = vec![figures.row.title.to_owned()];
        line.extend(shares.iter().map(|&column| {
            let one = |phase| optional(figures.bulk_share(&(column, phase)).map(|s| s * 100.0), 1);
            format!("{} / {}", one(Phase::Cold), one(Phase::Warm))
        }));
        lines.push(line);
    }
    Some(align(&lines))
}

/// Lines of cells of equal width.
pub(crate) fn text(columns: &[Column], rows: &[Figures]) -> String {
    let columns: Vec<Shown> = columns.iter().map(|&column| shown(column)).collect();
    let mut lines = vec![vec!["cold / warm".to_owned()]];
    lines[0].extend(columns.iter().map(|column| column.title.to_owned()));
    for figures in rows {
        let mut line = vec![figures.row.title.to_owned()];
        line.extend(columns.iter().map(|column| (column.cell)(figures)));
        lines.push(line);
    }
    align(&lines)
}

fn align(lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        lines
            .iter()
            .map(|line| line[at].chars().count())
            .max()
            .unwrap_or_default()
    };
    let mut text = String::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            if at == 0 {
                text.push_str(&format!("{cell:<0$}", width(at)));
            } else {
                text.push_str(&format!("  {cell:>0$}", width(at)));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn cells_stand_below_each_other() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = align(&[line(["name", "F"]), line(["a", "1000"])]);
        assert_eq!(text, "name     F\na     1000\n");
    }
}
