// SPDX-License-Identifier: GPL-2.0

//! Where the data of files goes, so that some of it is aligned and little room is lost.
//!
//! What is not known to be one file's data only stays where it is. Around it, the files that are to
//! be aligned are placed first, the largest one before the others, as near to the image's start as
//! they fit; other files make way, and then fill what has become free. At last, files move towards the
//! image's start as long as that makes it shorter.

use std::cmp::Reverse;
use std::ops::Range;

use super::blocks::Blocks;

/// The data of a file, in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it is.
    pub(crate) now: Range<u64>,
    /// Whether it is to be aligned.
    pub(crate) is_chosen: bool,
}

impl Run {
    fn len(&self) -> u64 {
        self.now.end - self.now.start
    }
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The first block of each run.
    pub(crate) starts: Vec<u64>,
    /// How many blocks the image has then.
    pub(crate) blocks: u64,
}

/// Places runs that do not overlap each other, the chosen ones at multiples of `alignment` blocks, in an
/// image of `blocks` blocks that may have up to `limit`. `None` if that is not enough.
pub(crate) fn place(runs: &[Run], blocks: u64, limit: u64, alignment: u64) -> Option<Placement> {
    let mut free = Blocks::default();
    free.insert(blocks..limit);
    let mut fixed = Blocks::default();
    fixed.insert(0..blocks);
    for run in runs {
        free.insert(run.now.clone());
        fixed.remove(&run.now);
    }
    let mut places = Places {
        runs,
        starts: vec![None; runs.len()],
        free,
    };
    places.place(|run| run.is_chosen, alignment)?;
    places.place(|_| true, 1)?;
    let fixed_end = fixed.ranges().last().map_or(0, |range| range.end);
    places.shorten(alignment);
    places.finish(fixed_end)
}

struct Places<'a> {
    runs: &'a [Run],
    starts: Vec<Option<u64>>,
    free: Blocks,
}

impl Places<'_> {
    /// Those that are aligned stay, so that an image that was aligned does not change.
    fn place(&mut self, which: impl Fn(&Run) -> bool, alignment: u64) -> Option<()> {
        self.keep_where_possible(|run| which(run) && run.now.start % alignment == 0);
        self.place_rest(which, alignment)
    }

    fn keep_where_possible(&mut self, which: impl Fn(&Run) -> bool) {
        for (index, run) in self.runs.iter().enumerate() {
            if self.starts[index].is_none() && which(run) && self.free.contains(&run.now) {
                self.put(index, run.now.start);
            }
        }
    }

    /// Places those that have no place, from the largest to the smallest.
    fn place_rest(&mut self, which: impl Fn(&Run) -> bool, alignment: u64) -> Option<()> {
        let mut rest: Vec<_> = (0..self.runs.len())
            .filter(|index| self.starts[*index].is_none() && which(&self.runs[*index]))
            .collect();
        rest.sort_by_key(|index| Reverse(self.runs[*index].len()));
        for index in rest {
            let start = self.free.first_fit(self.runs[index].len(), alignment)?;
            self.put(index, start);
        }
        Some(())
    }

    fn put(&mut self, index: usize, start: u64) {
        self.free.remove(&(start..start + self.runs[index].len()));
        self.starts[index] = Some(start);
    }

    fn end(&self, index: usize) -> u64 {
        self.starts[index].map_or(0, |start| start + self.runs[index].len())
    }

    /// Moves runs from the image's end to where there is room before it, as long as that makes the
    /// image shorter.
    fn shorten(&mut self, alignment: u64) {
        loop {
            let mut shorter = Self {
                runs: self.runs,
                starts: self.starts.clone(),
                free: self.free.clone(),
            };
            shorter.move_down(alignment);
            // Once more, as what was last may have room where the others were.
            shorter.move_down(alignment);
            if shorter.last_end() >= self.last_end() {
                break;
            }
            *self = shorter;
        }
    }

    /// Moves each run, the last one first, to the first room for it.
    fn move_down(&mut self, alignment: u64) {
        let mut order: Vec<_> = (0..self.runs.len()).collect();
        order.sort_by_key(|index| Reverse(self.starts[*index]));
        for index in order {
            let run = &self.runs[index];
            self.free
                .insert(self.end(index) - run.len()..self.end(index));
            let alignment = if run.is_chosen { alignment } else { 1 };
            let room = self.free.first_fit(run.len(), alignment);
            self.put(index, room.expect("there is room where it was"));
        }
    }

    fn last_end(&self) -> u64 {
        let ends = (0..self.runs.len()).map(|index| self.end(index));
        ends.max().unwrap_or(0)
    }

    fn finish(self, fixed_end: u64) -> Option<Placement> {
        Some(Placement {
            blocks: self.last_end().max(fixed_end),
            starts: self.starts.into_iter().collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const ALIGNMENT: u64 = 8;

    fn run(now: Range<u64>, is_chosen: bool) -> Run {
        Run { now, is_chosen }
    }

    #[test]
    fn a_file_changes_places_with_what_follows_it() {
        let runs = [run(3..20, true), run(20..25, false), run(25..28, false)];
        let placed = place(&runs, 28, u64::MAX, ALIGNMENT).unwrap();
        assert_eq!(placed.starts, [8, 3, 25]);
        assert_eq!(placed.blocks, 28);
    }

    #[test]
    fn what_is_not_a_files_stays_in_the_way() {
        // Blocks 20 to 24.
        let runs = [run(3..20, true), run(25..28, false)];
        let placed = place(&runs, 28, u64::MAX, ALIGNMENT).unwrap();
        assert_eq!(placed.starts, [32, 25]);
        assert_eq!(placed.blocks, 49);
        assert_eq!(place(&runs, 28, 48, ALIGNMENT), None);
    }

    #[test]
    fn an_image_gets_shorter_if_it_has_room() {
        let runs = [run(8..16, true), run(30..34, false), run(34..35, false)];
        let placed = place(&runs, 35, u64::MAX, ALIGNMENT).unwrap();
        assert_eq!(
            placed,
            Placement {
                starts: vec![8, 30, 34],
                blocks: 35
            }
        );
        let runs = [run(3..16, true), run(16..20, false), run(20..22, false)];
        let placed = place(&runs, 22, u64::MAX, ALIGNMENT).unwrap();
        assert_eq!(
            placed,
            Placement {
                starts: vec![8, 3, 21],
                blocks: 23
            }
        );
    }

    /// Runs with gaps of other blocks between them, and the number of blocks.
    fn image() -> impl Strategy<Value = (Vec<Run>, u64)> {
        vec((0_u64..4, 1_u64..30, any::<bool>()), 0..20).prop_map(|parts| {
            let mut blocks = 1;
            let mut runs = Vec::new();
            for (gap, len, is_chosen) in parts {
                let start = blocks + gap;
                blocks = start + len;
                runs.push(run(start..blocks, is_chosen));
            }
            (runs, blocks)
        })
    }

    proptest! {
        #[test]
        fn nothing_overlaps((runs, blocks) in image()) {
            let placed = place(&runs, blocks, u64::MAX, ALIGNMENT).unwrap();
            let mut taken = Blocks::default();
            taken.insert(0..blocks);
            for run in &runs {
                taken.remove(&run.now);
            }
            for (run, start) in runs.iter().zip(&placed.starts) {
                let there = *start..start + run.len();
                prop_assert!(!taken.intersects(&there));
                prop_assert!(!run.is_chosen || start % ALIGNMENT == 0);
                taken.insert(there);
            }
            let end = taken.ranges().last().map_or(0, |range| range.end);
            prop_assert_eq!(placed.blocks, end);
        }

        #[test]
        fn a_second_time_changes_nothing((runs, blocks) in image()) {
            let placed = place(&runs, blocks, u64::MAX, ALIGNMENT).unwrap();
            let moved: Vec<_> = runs
                .iter()
                .zip(&placed.starts)
                .map(|(old, start)| run(*start..start + old.len(), old.is_chosen))
                .collect();
            let again = place(&moved, placed.blocks, u64::MAX, ALIGNMENT).unwrap();
            prop_assert!(again.blocks <= placed.blocks);
            for (old, start) in moved.iter().zip(&again.starts) {
                prop_assert!(!old.is_chosen || old.now.start == *start);
            }
        }
    }
}
