// SPDX-License-Identifier: GPL-2.0

//! Tables, for terminals and for Markdown.

use erodax_bench::{Column, Phase};

use super::{
    figures::Figures,
    units::{unit, value},
};

/// Lines of cells, the first with titles, and in each the first with a peer's name.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    fn new(
        corner: &str,
        columns: &[Column],
        rows: &[Figures],
        title: impl Fn(Column) -> String,
        cell: impl Fn(&Figures, Column) -> String,
    ) -> Self {
        let mut head = vec![corner.to_owned()];
        head.extend(columns.iter().map(|&column| title(column)));
        let mut lines = vec![head];
        for figures in rows {
            let mut line = vec![figures.row.title.to_owned()];
            line.extend(columns.iter().map(|&column| cell(figures, column)));
            lines.push(line);
        }
        Self(lines)
    }

    /// The figures, cold and warm.
    pub(crate) fn of_figures(columns: &[Column], rows: &[Figures]) -> Self {
        let title = |column| {
            let unit = unit(column);
            format!("{}, {}", unit.title, unit.unit)
        };
        Self::new("cold / warm", columns, rows, title, figure)
    }

    /// Page faults, where something is mapped.
    pub(crate) fn of_faults(columns: &[Column], rows: &[Figures]) -> Option<Self> {
        let columns: Vec<Column> = columns
            .iter()
            .copied()
            .filter(|column| {
                let mapping = [
                    Column::MmapSeq,
                    Column::MmapRandom,
                    Column::ExecTrue,
                    Column::ExecPerl,
                ];
                mapping.contains(column)
            })
            .collect();
        let cell = |figures: &Figures, column| {
            both(|phase| {
                let cost = figures.costs.get(&(column, phase));
                cost.map_or_else(|| "-".to_owned(), |cost| cost.faults.to_string())
            })
        };
        (!columns.is_empty()).then(|| Self::new("page faults", &columns, rows, short_title, cell))
    }

    /// Which part of each cost is moving memory in bulk, where that is known.
    pub(crate) fn of_bulk(columns: &[Column], rows: &[Figures]) -> Option<Self> {
        let is_known = |column: &&Column| {
            let known = |phase| {
                rows.iter()
                    .any(|row| row.bulk_share(&(**column, phase)).is_some())
            };
            Phase::ALL.into_iter().any(known)
        };
        let columns: Vec<Column> = columns.iter().filter(is_known).copied().collect();
        let cell = |figures: &Figures, column| {
            both(|phase| {
                let share = figures.bulk_share(&(column, phase));
                share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}", share * 100.0))
            })
        };
        (!columns.is_empty()).then(|| Self::new("bulk, % of F", &columns, rows, short_title, cell))
    }

    /// Cells stand below each other.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.0 {
            for (at, cell) in line.iter().enumerate() {
                let width = self.width(at);
                if at == 0 {
                    text.push_str(&format!("{cell:<width$}"));
                } else {
                    text.push_str(&format!("  {cell:>width$}"));
                }
            }
            text.push('\n');
        }
        text
    }

    /// As Markdown has them.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (at, line) in self.0.iter().enumerate() {
            text.push_str(&format!("| {} |\n", line.join(" | ")));
            if at == 0 {
                text.push_str("|---|");
                text.push_str(&"---:|".repeat(line.len() - 1));
                text.push('\n');
            }
        }
        text
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.0.iter().filter_map(|line| line.get(at));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    }
}

fn short_title(column: Column) -> String {
    unit(column).title.to_owned()
}

fn figure(figures: &Figures, column: Column) -> String {
    let unit = unit(column);
    let shown = |phase| unit.show(value(figures, column, phase));
    if unit.twice {
        both(shown)
    } else {
        shown(Phase::Cold)
    }
}

fn both(shown: impl Fn(Phase) -> String) -> String {
    Phase::ALL.map(shown).join(" / ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{figures::Cost, rows::ROWS},
        *,
    };

    fn rows() -> Vec<Figures> {
        let cost = Cost {
            cost: 8000,
            units: 4,
            faults: 3,
            bulk: Some(16_000),
        };
        let costs = [(Column::MmapSeq, Phase::Cold), (Column::Find, Phase::Warm)];
        vec![Figures {
            row: &ROWS[0],
            memory: Some(1.034),
            costs: costs.map(|key| (key, cost)).into(),
        }]
    }

    const COLUMNS: [Column; 3] = [Column::Memory, Column::MmapSeq, Column::Find];

    #[test]
    fn cells_stand_below_each_other() {
        let text = Table::of_figures(&COLUMNS, &rows()).text();
        let expected = format!(
            "{:<1$}  memory, x tree  mmap seq., F/page  find, F/entry\n\
             {2}            1.03           2000 / -       - / 2000\n",
            "cold / warm",
            ROWS[0].title.len(),
            ROWS[0].title,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn markdown_has_a_rule_below_the_titles() {
        let text = Table::of_faults(&COLUMNS, &rows()).unwrap().markdown();
        let expected = "| page faults | mmap seq. |\n|---|---:|\n";
        assert_eq!(text, format!("{expected}| {} | 3 / - |\n", ROWS[0].title));
        assert!(Table::of_faults(&COLUMNS[..1], &rows()).is_none());
    }

    #[test]
    fn bulk_is_a_part_of_the_cost() {
        let text = Table::of_bulk(&COLUMNS, &rows()).unwrap().text();
        assert!(text.ends_with("25.0 / -  - / 25.0\n"), "{text}");
        assert!(Table::of_bulk(&COLUMNS[..1], &rows()).is_none());
    }
}
