// SPDX-License-Identifier: GPL-2.0

//! Sets of blocks, as an image has many of them in few ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of block numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The ends of the ranges by their starts; none is empty, and none touches another.
    ranges: BTreeMap<u64, u64>,
}

impl Blocks {
    /// The ranges in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    /// Whether all of `range` is in the set.
    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        let before = self.ranges.range(..=range.start).next_back();
        range.is_empty() || before.is_some_and(|(_, end)| range.end <= *end)
    }

    /// Whether a block of `range` is in the set.
    pub(crate) fn intersects(&self, range: &Range<u64>) -> bool {
        let before = self.ranges.range(..range.end).next_back();
        !range.is_empty() && before.is_some_and(|(_, end)| range.start < *end)
    }

    /// Adds a range.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        while let Some((first, last)) = self.ranges.range(..=end).next_back() {
            if *last < start {
                break;
            }
            (start, end) = (start.min(*first), end.max(*last));
            let first = *first;
            self.ranges.remove(&first);
        }
        self.ranges.insert(start, end);
    }

    /// Takes a range away.
    pub(crate) fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((first, last)) = self.ranges.range(..range.end).next_back() {
            let (first, last) = (*first, *last);
            if last <= range.start {
                break;
            }
            self.ranges.remove(&first);
            if first < range.start {
                self.ranges.insert(first, range.start);
            }
            if range.end < last {
                self.ranges.insert(range.end, last);
            }
        }
    }

    /// The first multiple of `alignment` from which on `len` blocks are in the set.
    pub(crate) fn first_fit(&self, len: u64, alignment: u64) -> Option<u64> {
        self.ranges().find_map(|range| {
            let start = range.start.checked_next_multiple_of(alignment)?;
            (start.checked_add(len)? <= range.end).then_some(start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeSet;

    fn range() -> impl Strategy<Value = Range<u64>> {
        (0_u64..40, 0_u64..12).prop_map(|(start, len)| start..start + len)
    }

    proptest! {
        #[test]
        fn as_a_set_of_numbers(steps in vec((any::<bool>(), range()), 0..30), asked in range()) {
            let mut blocks = Blocks::default();
            let mut numbers = BTreeSet::new();
            for (is_added, range) in steps {
                if is_added {
                    numbers.extend(range.clone());
                    blocks.insert(range);
                } else {
                    numbers.retain(|number| !range.contains(number));
                    blocks.remove(&range);
                }
                let all: Vec<_> = blocks.ranges().flatten().collect();
                prop_assert_eq!(&all, &numbers.iter().copied().collect::<Vec<_>>());
                let touching = blocks.ranges().zip(blocks.ranges().skip(1));
                for (one, next) in touching {
                    prop_assert!(one.end < next.start);
                }
            }
            let has = |range: &Range<u64>| range.clone().all(|number| numbers.contains(&number));
            prop_assert_eq!(blocks.contains(&asked), has(&asked));
            let touches = asked.clone().any(|number| numbers.contains(&number));
            prop_assert_eq!(blocks.intersects(&asked), touches);
            let len = asked.end - asked.start + 1;
            let mut starts = (0..60).step_by(4);
            let fit = starts.find(|start| has(&(*start..*start + len)));
            prop_assert_eq!(blocks.first_fit(len, 4), fit);
        }
    }
}
