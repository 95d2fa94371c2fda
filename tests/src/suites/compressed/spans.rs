// SPDX-License-Identifier: GPL-2.0

//! Long extents, which are decoded straight to many folios at once: whatever they are read by, in
//! whatever order, and whatever part of them is in the page cache already.

mod ways;

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::{Mapping, PAGE};
use rustix::fs::{fadvise, major, minor, Advice};

use super::{images, sparse::all_extents};
use crate::{
    erodax::with_each,
    expectation::{sha256, Entry},
    image::Image,
};
use ways::{Random, Seen, WAYS};

/// Files of images with spans: here denser, there less; and very dense everywhere.
const MIXED: &str = "mixed";
const RECORDS: &str = "records";

/// KiB that are read ahead at most: a page, an odd number of them, what it is by itself, and more
/// than a span has.
const WINDOWS: [u32; 4] = [4, 28, 128, 1024];

/// A file, and what is in it.
struct Subject {
    path: PathBuf,
    whole: Vec<u8>,
}

impl Subject {
    /// Reads the file in its order.
    fn of(path: PathBuf, expected: &str) -> Result<Self> {
        let whole = fs::read(&path)?;
        ensure!(
            sha256(&whole) == expected,
            "{} has another content",
            path.display()
        );
        Ok(Self { path, whole })
    }

    fn open(&self) -> Result<File> {
        Ok(File::open(&self.path)?)
    }

    /// Its pages, the last one of which may be a part.
    fn pages(&self) -> usize {
        self.whole.len().div_ceil(PAGE)
    }

    /// Takes its pages from the page cache.
    fn drop_pages(&self) -> Result<()> {
        fadvise(self.open()?, 0, None, Advice::DontNeed)?;
        let left = self.resident()?.into_iter().filter(|is| *is).count();
        ensure!(left == 0, "{left} pages are not dropped");
        Ok(())
    }

    /// Which of its pages are in the page cache.
    fn resident(&self) -> Result<Vec<bool>> {
        let map = Mapping::read_only(self.open()?, self.whole.len())?;
        Ok(map.resident()?)
    }
}

/// Runs `body` with the mount's root and a file of an image, which was just read.
fn with_subject(
    image: &Image,
    name: &str,
    body: impl FnOnce(&Path, &Subject) -> Result<()>,
) -> Result<()> {
    let mut body = Some(body);
    with_each(&[image.name], "", |root, entries: &[Entry]| {
        let mut all = entries.iter();
        let entry = all.find(|entry| entry.path() == Path::new(name));
        let digest = entry.and_then(|entry| entry.sha256.as_ref());
        let subject = Subject::of(root.join(name), digest.context("no such file")?)?;
        body.take().map_or(Ok(()), |body| body(root, &subject))
    })
}

/// Says how much is read ahead in files of a mount that are opened from now on.
fn set_window(root: &Path, kib: u32) -> Result<()> {
    let device = fs::metadata(root)?.dev();
    let name = format!("{}:{}", major(device), minor(device));
    let path = Path::new("/sys/class/bdi").join(name).join("read_ahead_kb");
    fs::write(&path, kib.to_string()).with_context(|| path.display().to_string())
}

/// The images have what the other tests are about: extents of so many pages.
pub(super) fn lengths() -> Result<()> {
    /// mkfs.erofs has no more in memory at once.
    const LONGEST: u64 = 8000 << 10;
    let page = u64::try_from(PAGE)?;
    let [five, most, odd] = &images::SPANS;
    ensure!(longest_of(five, MIXED)? == 5 * page);
    ensure!(longest_of(most, MIXED)? == 64 * page);
    for image in images::OTHER_SPANS.iter().chain([odd]) {
        let longest = longest_of(image, MIXED)?;
        ensure!((5 * page..64 * page).contains(&longest) && longest % page != 0);
    }
    ensure!(longest_of(&images::LONGEST, RECORDS)? == LONGEST);
    Ok(())
}

/// The bytes of a file's longest extent.
fn longest_of(image: &Image, name: &str) -> Result<u64> {
    let mut longest = 0;
    with_subject(image, name, |_, subject| {
        let all = all_extents(&subject.path)?;
        longest = all.iter().map(|extent| extent.length).max().unwrap_or(0);
        Ok(())
    })?;
    println!("{}: extents of up to {longest} bytes", image.name);
    Ok(longest)
}

pub(super) fn lz4() -> Result<()> {
    let mut images = images::SPANS.iter();
    images.try_for_each(|image| in_every_way(image, MIXED, &WINDOWS))
}

pub(super) fn other_algorithms() -> Result<()> {
    let [_, odd, _, large] = WINDOWS;
    let mut images = images::OTHER_SPANS.iter();
    images.try_for_each(|image| in_every_way(image, MIXED, &[odd, large]))
}

pub(super) fn longest() -> Result<()> {
    let [.., usual, large] = WINDOWS;
    in_every_way(&images::LONGEST, RECORDS, &[usual, large])
}

/// Every way to read, with windows of readahead; by then both large folios and small ones must have
/// been filled.
fn in_every_way(image: &Image, name: &str, windows: &[u32]) -> Result<()> {
    let mut random = Random::new(1);
    let mut seen = Seen::default();
    with_subject(image, name, |root, subject| {
        for window in windows {
            set_window(root, *window)?;
            for (name, way) in WAYS {
                subject.drop_pages()?;
                way(subject, &mut random, &mut seen)
                    .with_context(|| format!("{name}, {window} KiB read ahead"))?;
            }
        }
        Ok(())
    })?;
    println!("{}: {seen:?}", image.name);
    ensure!(seen.small > 0 && seen.large > 0, "{seen:?}");
    Ok(())
}

/// Readers in ways of their own, while pages are dropped here and there.
pub(super) fn concurrently() -> Result<()> {
    const READERS: u64 = 4;
    for image in [images::SPANS[1], images::SPANS[2], images::OTHER_SPANS[0]] {
        with_subject(&image, MIXED, |_, subject| {
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let dropper = scope.spawn(|| ways::drop_until(subject, &is_over));
                let readers: Vec<_> = (1..=READERS)
                    .map(|seed| scope.spawn(move || ways::at_will(subject, seed)))
                    .collect();
                let results: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
                is_over.store(true, Ordering::Relaxed);
                let times = dropper.join().expect("does not panic")?;
                ensure!(times > 20, "dropped {times} times only");
                results
                    .into_iter()
                    .try_for_each(|result| result.expect("no reader panics"))
            })
        })
        .with_context(|| image.name)?;
    }
    Ok(())
}
