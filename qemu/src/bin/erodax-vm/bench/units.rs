// SPDX-License-Identifier: GPL-2.0

//! How figures are shown to people.

use erodax_bench::{Column, Phase};

use super::figures::Figures;

/// How a column is shown.
pub(crate) struct Unit {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// Behind the point.
    pub(crate) digits: usize,
    /// Whether it is measured when it is warm, too.
    pub(crate) twice: bool,
    /// Whether more of it is better; else less is.
    pub(crate) more_is_better: bool,
}

pub(crate) fn unit(column: Column) -> Unit {
    let (title, unit, digits) = match column {
        Column::FirstExec => ("first exec", "MF", 1),
        Column::Read => ("read all", "B/kF", 0),
        Column::MmapSeq => ("mmap seq.", "F/page", 0),
        Column::MmapRandom => ("mmap random", "F/page", 0),
        Column::Pread => ("pread 4K", "F", 0),
        Column::Find => ("find", "F/entry", 0),
        Column::Lookup => ("lookup", "F", 0),
        Column::ExecTrue => ("true", "kF", 0),
        Column::ExecPerl => ("perl -e 0", "kF", 0),
        Column::Memory => ("memory", "x tree", 2),
    };
    Unit {
        title,
        unit,
        digits,
        twice: !matches!(column, Column::FirstExec | Column::Memory),
        more_is_better: column == Column::Read,
    }
}

impl Unit {
    pub(crate) fn phases(&self) -> &'static [Phase] {
        if self.twice {
            &Phase::ALL
        } else {
            &Phase::ALL[..1]
        }
    }

    /// A value in digits, or a dash.
    pub(crate) fn show(&self, value: Option<f64>) -> String {
        let digits = self.digits;
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    }
}

/// A figure in its column's unit.
pub(crate) fn value(figures: &Figures, column: Column, phase: Phase) -> Option<f64> {
    let cost = figures.costs.get(&(column, phase));
    match column {
        Column::Memory if phase == Phase::Cold => figures.memory,
        Column::Memory => None,
        Column::FirstExec => cost.map(|cost| cost.each() / 1e6),
        Column::Read => cost.map(|cost| cost.rate()),
        Column::ExecTrue | Column::ExecPerl => cost.map(|cost| cost.each() / 1e3),
        _ => cost.map(|cost| cost.each()),
    }
}
