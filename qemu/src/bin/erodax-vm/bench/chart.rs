// SPDX-License-Identifier: GPL-2.0

//! Charts of the figures: a bar for each peer, cold and warm.

use std::path::Path;

use anyhow::{anyhow, Result};
use erodax_bench::{Column, Phase};
use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Rectangle, Text},
    style::{
        text_anchor::{HPos, Pos, VPos},
        Color, FontStyle, IntoTextStyle, RGBColor, TextStyle, BLACK, WHITE,
    },
};

use super::{
    figures::Figures,
    units::{unit, value, Unit},
};

/// Columns that share a chart, by its file's name.
pub(crate) const GROUPS: [(&str, &[Column]); 5] = [
    ("start", &[Column::FirstExec, Column::Memory]),
    ("data", &[Column::Read, Column::Pread]),
    ("mapping", &[Column::MmapSeq, Column::MmapRandom]),
    ("names", &[Column::Find, Column::Lookup]),
    ("programs", &[Column::ExecTrue, Column::ExecPerl]),
];

const WIDTH: i32 = 860;
/// Where the bars begin, and where the longest ends.
const LEFT: i32 = 210;
const RIGHT: i32 = 760;
const TITLE: i32 = 34;
/// What a peer has for its bars.
const ROW: i32 = 20;
/// Between peers.
const GAP: i32 = 8;
const FOOT: i32 = 26;
const COLOURS: [RGBColor; 2] = [RGBColor(0x1f, 0x5f, 0x99), RGBColor(0x9d, 0xc3, 0xe6)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the columns of a group below each other; `caption` says what was measured when.
pub(crate) fn draw(path: &Path, columns: &[Column], rows: &[Figures], caption: &str) -> Result<()> {
    let panel = panel_height(rows.len());
    let height = panel * i32::try_from(columns.len())? + FOOT;
    let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut top = 0;
        for &column in columns {
            draw_column(&area, top, column, rows)?;
            top += panel;
        }
        let style = text(14, HPos::Left);
        area.draw(&Text::new(caption.to_owned(), (8, top + FOOT / 2), style))?;
        Ok(area.present()?)
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn panel_height(rows: usize) -> i32 {
    let rows = i32::try_from(rows).unwrap_or(i32::MAX / 1000);
    TITLE + rows * (ROW + GAP)
}

fn draw_column(
    area: &Area<'_>,
    top: i32,
    column: Column,
    rows: &[Figures],
) -> Result<(), Box<dyn std::error::Error>> {
    let unit = unit(column);
    let scale = Scale::new(rows.iter().flat_map(|figures| {
        let phases = unit.phases().iter();
        phases.filter_map(|&phase| value(figures, column, phase))
    }));
    let title = title(&unit, scale.logarithmic);
    area.draw(&Text::new(
        title,
        (8, top + TITLE / 2),
        text(18, HPos::Left),
    ))?;
    let bar = ROW / i32::try_from(unit.phases().len())?;
    for (at, figures) in (0_i32..).zip(rows) {
        let y = top + TITLE + at * (ROW + GAP);
        let name = figures.row.title.to_owned();
        area.draw(&Text::new(
            name,
            (LEFT - 8, y + ROW / 2),
            text(15, HPos::Right),
        ))?;
        for (line, &phase) in (0_i32..).zip(unit.phases()) {
            let Some(value) = value(figures, column, phase) else {
                continue;
            };
            let y = y + line * bar;
            let end = scale.x(value);
            let colour = COLOURS[usize::from(phase == Phase::Warm)];
            area.draw(&Rectangle::new(
                [(LEFT, y), (end, y + bar - 1)],
                colour.filled(),
            ))?;
            let label = Text::new(
                unit.show(Some(value)),
                (end + 4, y + bar / 2),
                text(12, HPos::Left),
            );
            area.draw(&label)?;
        }
    }
    Ok(())
}

fn title(unit: &Unit, logarithmic: bool) -> String {
    let better = if unit.more_is_better { "more" } else { "less" };
    let phases = if unit.twice { "cold above warm, " } else { "" };
    let scale = if logarithmic { ", logarithmic" } else { "" };
    format!(
        "{} in {}: {phases}{better} is better{scale}",
        unit.title, unit.unit
    )
}

/// The crate takes a size for that of a line, and writes smaller.
fn text(size: i32, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", size, FontStyle::Normal)
        .into_text_style(&(WIDTH.unsigned_abs(), 0))
        .color(&BLACK)
        .pos(Pos::new(horizontal, VPos::Center))
}

/// From values to pixels.
struct Scale {
    /// Where the bars begin.
    least: f64,
    most: f64,
    logarithmic: bool,
}

impl Scale {
    /// Where peers differ by more than this, only a logarithmic scale shows all of them.
    const SPREAD: f64 = 20.0;

    fn new(values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| *value > 0.0);
        let (least, most) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let logarithmic = most / least > Self::SPREAD;
        Self {
            // Half of the least, so that it has a bar as well.
            least: if logarithmic { least / 2.0 } else { 0.0 },
            most,
            logarithmic,
        }
    }

    fn x(&self, value: f64) -> i32 {
        let share = if self.logarithmic {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            value / self.most
        };
        LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{figures::Cost, rows::ROWS},
        *,
    };

    #[test]
    fn the_longest_bar_fills_the_chart() {
        let linear = Scale::new([1.0, 10.0].into_iter());
        assert_eq!((linear.x(10.0), linear.x(0.0)), (RIGHT, LEFT));
        assert_eq!(linear.x(1.0), LEFT + (RIGHT - LEFT) / 10);
        let logarithmic = Scale::new([2.0, 100.0].into_iter());
        assert_eq!((logarithmic.x(100.0), logarithmic.x(1.0)), (RIGHT, LEFT));
        assert_eq!(logarithmic.x(10.0), LEFT + (RIGHT - LEFT) / 2);
    }

    #[test]
    fn every_column_is_in_one_group() {
        for column in Column::ALL {
            let groups = GROUPS.iter().filter(|(_, group)| group.contains(&column));
            assert_eq!(groups.count(), 1, "{column}");
        }
    }

    #[test]
    fn a_chart_has_names_and_values() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cost = Cost {
            cost: 8642,
            units: 2,
            faults: 0,
            bulk: None,
        };
        let rows = [Figures {
            row: &ROWS[0],
            memory: None,
            costs: [((Column::Find, Phase::Cold), cost)].into(),
        }];
        draw(file.path(), &[Column::Find], &rows, "a caption").unwrap();
        let svg = std::fs::read_to_string(file.path()).unwrap();
        for word in [
            "<svg",
            "4321",
            ROWS[0].title,
            "find in F/entry",
            "a caption",
        ] {
            assert!(svg.contains(word), "{word:?} is not in {svg}");
        }
    }
}
