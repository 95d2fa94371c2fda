// SPDX-License-Identifier: GPL-2.0

//! Ways to read a file.

use std::{
    ops::Range,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Advice as MapAdvice, Mapping, PAGE},
    pages::{flags, mapped},
};
use rustix::fs::{fadvise, Advice};

use super::Subject;

/// Numbers without pattern, the same in every run (xorshift64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % end
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A part of a file of `len` bytes: mostly of a few pages, rarely of hundreds.
    fn part(&mut self, len: usize) -> Range<usize> {
        let start = self.below(len);
        let longest = [100, 3 * PAGE, 40 * PAGE, 300 * PAGE][self.below(4)];
        start..len.min(start + 1 + self.below(longest))
    }
}

/// In how many of the folios that were looked at there is more than a page.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) small: usize,
    pub(super) large: usize,
}

impl Seen {
    /// Looks at some of the pages of a file that are mapped.
    fn look_at(&mut self, map: &Mapping) -> Result<()> {
        const EACH: usize = 32;
        /// `KPF_COMPOUND_HEAD` and `KPF_COMPOUND_TAIL`.
        const LARGE: u64 = (1 << 15) | (1 << 16);
        for page in mapped(map)?.into_iter().step_by(EACH) {
            let frame = page.frame().context("a page is not mapped")?;
            let is_large = flags(frame..frame + 1)?
                .iter()
                .any(|page| page & LARGE != 0);
            *if is_large {
                &mut self.large
            } else {
                &mut self.small
            } += 1;
        }
        Ok(())
    }
}

/// A way to read a file of which nothing is in the page cache.
type Way = fn(&Subject, &mut Random, &mut Seen) -> Result<()>;

pub(super) const WAYS: [(&str, Way); 11] = [
    ("in order", |subject, _, seen| {
        read_in_order(subject, Advice::Normal, seen)
    }),
    ("in order, as advised", |subject, _, seen| {
        read_in_order(subject, Advice::Sequential, seen)
    }),
    ("asked for beforehand", |subject, _, seen| {
        read_in_order(subject, Advice::WillNeed, seen)
    }),
    ("parts at random", |subject, random, _| {
        read_parts(subject, random, Advice::Normal)
    }),
    ("parts at random, as advised", |subject, random, _| {
        read_parts(subject, random, Advice::Random)
    }),
    ("backwards", |subject, _, seen| {
        let pages: Vec<_> = (0..subject.pages()).rev().collect();
        read_pages(subject, &pages)?;
        fault_in(subject, &pages, MapAdvice::Normal, seen)
    }),
    ("faults in order", |subject, _, seen| {
        let pages: Vec<_> = (0..subject.pages()).collect();
        fault_in(subject, &pages, MapAdvice::Sequential, seen)
    }),
    ("faults at random", |subject, random, seen| {
        fault_in(subject, &shuffled(subject, random), MapAdvice::Normal, seen)
    }),
    ("faults at random, as advised", |subject, random, seen| {
        fault_in(subject, &shuffled(subject, random), MapAdvice::Random, seen)
    }),
    ("faults by huge pages", |subject, random, seen| {
        let advice = MapAdvice::LinuxHugepage;
        fault_in(subject, &shuffled(subject, random), advice, seen)
    }),
    ("around what is there", around_what_is_there),
];

fn shuffled(subject: &Subject, random: &mut Random) -> Vec<usize> {
    let mut pages: Vec<_> = (0..subject.pages()).collect();
    random.shuffle(&mut pages);
    pages
}

/// A part of the file must be what it is.
fn check(subject: &Subject, part: Range<usize>, found: &[u8]) -> Result<()> {
    let expected = &subject.whole[part.clone()];
    let wrong = found
        .iter()
        .zip(expected)
        .position(|(is, ought)| is != ought);
    let wrong = wrong.map(|at| part.start + at);
    ensure!(
        found.len() == expected.len() && wrong.is_none(),
        "{} bytes of {part:?}, wrong at {wrong:?}",
        found.len()
    );
    Ok(())
}

fn read_part(subject: &Subject, file: &impl FileExt, part: Range<usize>) -> Result<()> {
    let mut found = vec![0xA5; part.len()];
    file.read_exact_at(&mut found, u64::try_from(part.start)?)?;
    check(subject, part, &found)
}

/// Reads in pieces of an odd length.
fn read_in_order(subject: &Subject, advice: Advice, seen: &mut Seen) -> Result<()> {
    const LENGTH: usize = 70_001;
    let file = subject.open()?;
    fadvise(&file, 0, None, advice)?;
    let len = subject.whole.len();
    for start in (0..len).step_by(LENGTH) {
        read_part(subject, &file, start..len.min(start + LENGTH))?;
    }
    let map = Mapping::read_only(&file, len)?;
    map.populate(0..subject.pages() * PAGE)?;
    seen.look_at(&map)
}

fn read_parts(subject: &Subject, random: &mut Random, advice: Advice) -> Result<()> {
    const PARTS: usize = 40;
    let file = subject.open()?;
    fadvise(&file, 0, None, advice)?;
    (0..PARTS).try_for_each(|_| read_part(subject, &file, random.part(subject.whole.len())))
}

/// Reads every other one of these pages.
fn read_pages(subject: &Subject, pages: &[usize]) -> Result<()> {
    let file = subject.open()?;
    let mut wanted = pages.iter().step_by(2);
    wanted.try_for_each(|page| read_part(subject, &file, page_of(subject, *page)))
}

/// Bytes of a page of the file.
fn page_of(subject: &Subject, page: usize) -> Range<usize> {
    page * PAGE..subject.whole.len().min((page + 1) * PAGE)
}

/// Touches pages, all of them, in this order.
fn fault_in(subject: &Subject, pages: &[usize], advice: MapAdvice, seen: &mut Seen) -> Result<()> {
    let mut map = Mapping::read_only(subject.open()?, subject.whole.len())?;
    map.advise(0..subject.pages() * PAGE, advice)?;
    for page in pages {
        let part = page_of(subject, *page);
        check(subject, part.clone(), &map.bytes()[part])?;
    }
    let beyond = &map.bytes()[subject.whole.len()..];
    ensure!(beyond.iter().all(|byte| *byte == 0), "bytes beyond the end");
    seen.look_at(&map)
}

/// Leaves single pages in the page cache and drops what is between them, so that each window
/// of readahead and each span ends at one: then reads everything, by faults and in parts.
fn around_what_is_there(subject: &Subject, random: &mut Random, seen: &mut Seen) -> Result<()> {
    for is_mapped in [false, true] {
        let islands = leave_islands(subject, random)?;
        let resident = subject.resident()?;
        ensure!(islands > 3, "{islands} islands");
        let left = resident.iter().filter(|is| **is).count();
        ensure!(left < subject.pages() / 2, "{left} pages are left");
        let before = resident
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count();
        ensure!(before >= islands, "{before} edges of {islands} islands");
        match is_mapped {
            true => {
                let pages = shuffled(subject, random);
                fault_in(subject, &pages, MapAdvice::Normal, seen)?;
            }
            false => read_in_order(subject, Advice::Normal, seen)?,
        }
        subject.drop_pages()?;
    }
    Ok(())
}

/// Reads all pages as small folios, and drops them but for some; says how many are left together.
fn leave_islands(subject: &Subject, random: &mut Random) -> Result<usize> {
    let file = subject.open()?;
    fadvise(&file, 0, None, Advice::Random)?;
    read_part(subject, &file, 0..subject.whole.len())?;
    let (mut page, mut islands) = (random.below(30), 0);
    let mut start = 0;
    while page < subject.pages() {
        drop_part(subject, start..page)?;
        islands += 1;
        start = page + 1 + random.below(3);
        page = start + 1 + random.below(90);
    }
    drop_part(subject, start..subject.pages())?;
    Ok(islands)
}

/// Takes pages from the page cache, as far as they are whole folios that nobody uses.
fn drop_part(subject: &Subject, pages: Range<usize>) -> Result<()> {
    let page = u64::try_from(PAGE)?;
    let start = u64::try_from(pages.start)? * page;
    // No length means to the end.
    let len = std::num::NonZeroU64::new(u64::try_from(pages.len())? * page);
    if len.is_some() {
        fadvise(subject.open()?, start, len, Advice::DontNeed)?;
    }
    Ok(())
}

/// Reads and maps parts for a while.
pub(super) fn at_will(subject: &Subject, seed: u64) -> Result<()> {
    const ROUNDS: usize = 60;
    let mut random = Random::new(seed);
    let file = subject.open()?;
    let len = subject.whole.len();
    for _ in 0..ROUNDS {
        let advice = [Advice::Normal, Advice::Random, Advice::Sequential][random.below(3)];
        fadvise(&file, 0, None, advice)?;
        read_part(subject, &file, random.part(len))?;
        let map = Mapping::read_only(&file, len)?;
        let part = random.part(len);
        check(subject, part.clone(), &map.bytes()[part])?;
    }
    Ok(())
}

/// Drops parts of the file until it is over; says how often.
pub(super) fn drop_until(subject: &Subject, is_over: &AtomicBool) -> Result<usize> {
    const PAUSE: Duration = Duration::from_millis(2);
    let mut random = Random::new(0);
    let mut times = 0;
    while !is_over.load(Ordering::Relaxed) {
        let first = random.below(subject.pages());
        let end = first + 1 + random.below(subject.pages() - first);
        drop_part(subject, first..end)?;
        times += 1;
        thread::sleep(PAUSE);
    }
    Ok(times)
}
