// SPDX-License-Identifier: GPL-2.0

//! Which pages around the wanted one a fault maps as well.
//!
//! A page costs a process about 100 instructions to map and 400 to unmap, a fault 2000: as
//! the page cache does, a fault maps the 16 pages around an address. Where a file is read in
//! order the windows double, up to a whole page table. Pure code without kernel types, so that
//! the host runs its tests.

use core::ops::Range;

/// Entries of a page table, which is what one fault maps at most.
pub(crate) const LARGEST: u64 = 512;

/// Pages that are mapped where nothing is known (64 KiB), as `fault_around_bytes` has it.
const USUAL: u64 = 16;

/// The window of the fault before, as an open file remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Previous {
    /// Page of the file after the window.
    pub(crate) end: u64,
    /// Pages that it was meant to have; 0 if there was none.
    pub(crate) len: u32,
}

/// What is known of a fault.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Page of the file that is wanted.
    pub(crate) wanted: u64,
    /// Entry of the page table that it belongs to.
    pub(crate) entry: u64,
    /// Pages of the file, the wanted one among them, that can be mapped beside it.
    pub(crate) room: Range<u64>,
    /// Whether the process has said that it reads in order (`MADV_SEQUENTIAL`).
    pub(crate) in_order: bool,
}

/// The pages to map, and what to remember of them.
pub(crate) fn choose(place: &Place, previous: Previous) -> (Range<u64>, Previous) {
    let follows = previous.len > 0 && previous.end == place.wanted;
    let (start, len) = if place.in_order {
        (place.wanted, LARGEST)
    } else if follows {
        let doubled = u64::from(previous.len).saturating_mul(2);
        (place.wanted, doubled.clamp(USUAL, LARGEST))
    } else {
        (place.wanted.saturating_sub(place.entry % USUAL), USUAL)
    };
    let end = start.saturating_add(len).min(place.room.end);
    let next = Previous {
        end,
        // At most `LARGEST`.
        len: u32::try_from(len).unwrap_or(0),
    };
    (start.max(place.room.start)..end, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Range<u64> = 0..1 << 20;

    fn place(wanted: u64) -> Place {
        Place {
            wanted,
            entry: wanted % LARGEST,
            room: FAR,
            in_order: false,
        }
    }

    #[test]
    fn sixteen_around_an_address() {
        for wanted in [1600, 1607, 1615] {
            let (window, _) = choose(&place(wanted), Previous::default());
            assert_eq!(window, 1600..1616, "{wanted}");
        }
        // By the address, not by the page of the file.
        let shifted = Place {
            entry: 3,
            ..place(1607)
        };
        assert_eq!(choose(&shifted, Previous::default()).0, 1604..1620);
    }

    #[test]
    fn doubles_while_read_in_order() {
        let mut previous = Previous::default();
        let mut wanted = 0;
        let mut lens = Vec::new();
        for _ in 0..8 {
            let window;
            (window, previous) = choose(&place(wanted), previous);
            assert_eq!(window.start, wanted);
            wanted = window.end;
            lens.push(window.end - window.start);
        }
        assert_eq!(lens, [16, 32, 64, 128, 256, 512, 512, 512]);
        let (window, previous) = choose(&place(5), previous);
        assert_eq!((window, previous.len), (0..16, 16), "out of order");
    }

    #[test]
    fn growth_survives_the_end_of_a_page_table() {
        let previous = Previous { end: 500, len: 256 };
        let table = Place {
            room: 0..512,
            ..place(500)
        };
        let (window, previous) = choose(&table, previous);
        assert_eq!(
            (window, previous),
            (500..512, Previous { end: 512, len: 512 })
        );
        assert_eq!(choose(&place(512), previous).0, 512..1024);
    }

    #[test]
    fn stays_in_its_room() {
        let narrow = Place {
            room: 1605..1610,
            ..place(1607)
        };
        let (window, previous) = choose(&narrow, Previous::default());
        assert_eq!((window, previous.end), (1605..1610, 1610));
    }

    #[test]
    fn all_of_a_table_on_advice() {
        let advised = Place {
            in_order: true,
            room: 512..1024,
            ..place(700)
        };
        assert_eq!(choose(&advised, Previous::default()).0, 700..1024);
    }

    #[test]
    fn a_file_that_was_not_read_before_is_not_read_in_order() {
        assert_eq!(choose(&place(0), Previous::default()).1.len, 16);
    }

    #[test]
    fn the_wanted_page_is_always_in_it() {
        let wanted = 1 << 20;
        for (before, after) in [(0, 1), (0, 512), (3, 4), (15, 1), (16, 17), (511, 1)] {
            let room = wanted - before..wanted + after;
            for entry in before..LARGEST - after + 1 {
                for (end, len) in [
                    (0, 0),
                    (wanted, 1),
                    (wanted, 512),
                    (wanted, u32::MAX),
                    (7, 9),
                ] {
                    for in_order in [false, true] {
                        let place = Place {
                            wanted,
                            entry,
                            room: room.clone(),
                            in_order,
                        };
                        let (window, next) = choose(&place, Previous { end, len });
                        assert!(window.contains(&wanted), "{place:?}: {window:?}");
                        assert!(
                            room.start <= window.start && window.end <= room.end,
                            "{place:?}: {window:?}"
                        );
                        assert_eq!(next.end, window.end);
                    }
                }
            }
        }
    }
}
