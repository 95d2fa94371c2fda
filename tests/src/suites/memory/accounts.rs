// SPDX-License-Identifier: GPL-2.0

//! What procfs says about mappings and about the pages that are in them.

use std::{
    fs::{self, File},
    ops::Range,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::extents,
    mapping::{Advice, MapFlags, Mapping, ProtFlags, PAGE},
    pages::{self, PageStructs},
    system::{in_child, splice_pages},
};
use rustix::pipe::pipe;

use super::{content, each_big, overwrite, BIG, WRITABLE};
use crate::{
    kinds::{Kind, Memory},
    suites::zoo,
};

/// Page frames of a compound page.
const BLOCK: u64 = 512;

/// What /proc/self/smaps says about a mapping.
pub(super) struct Smaps {
    fields: Vec<(String, u64)>,
}

impl Smaps {
    /// Of the first mapping of a file of this name.
    pub(super) fn of(file: &str) -> Result<Self> {
        let smaps = fs::read_to_string("/proc/self/smaps")?;
        let suffix = format!("/{file}");
        let lines = smaps.lines().skip_while(|line| !line.ends_with(&suffix));
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let kib = value.trim().strip_suffix(" kB")?.parse().ok()?;
            Some((name.to_owned(), kib))
        };
        let fields: Vec<_> = lines.skip(1).map_while(field).collect();
        ensure!(!fields.is_empty(), "{file} is not in smaps");
        Ok(Self { fields })
    }

    /// A field in KiB.
    pub(super) fn kib(&self, name: &str) -> Result<u64> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        Ok(found.with_context(|| format!("no {name} in smaps"))?.1)
    }

    fn check(&self, expected: &[(&str, u64)]) -> Result<()> {
        for (name, kib) in expected {
            let found = self.kib(name)?;
            ensure!(found == *kib, "{name} is {found} KiB, not {kib}");
        }
        Ok(())
    }
}

/// Pages count as resident, alone, shared or copied.
pub(super) fn shown_as_resident<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let pages = whole.len().div_ceil(PAGE);
        let kib = u64::try_from(pages * PAGE / 1024)?;
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        Smaps::of(BIG)?.check(&[("Size", kib), ("Rss", 0), ("Pss", 0)])?;
        ensure!(&map.bytes()[..whole.len()] == whole);
        let alone = [
            ("Rss", kib),
            ("Pss", kib),
            ("Private_Clean", kib),
            ("Anonymous", 0),
        ];
        Smaps::of(BIG)?.check(&alone)?;
        let status = in_child(|| {
            ensure!(&map.bytes()[..whole.len()] == whole);
            let shared = [("Rss", kib), ("Pss", kib / 2), ("Shared_Clean", kib)];
            Smaps::of(BIG)?.check(&shared)
        })?;
        ensure!(status.success(), "the child: {status}");
        overwrite(&mut map);
        let copied = u64::try_from(pages.div_ceil(3) * PAGE / 1024)?;
        let own = [
            ("Rss", kib),
            ("Anonymous", copied),
            ("Private_Dirty", copied),
        ];
        Smaps::of(BIG)?.check(&own)
    })
}

/// What is mapped are the very pages of the image, until one is written to.
pub(super) fn pages_of_the_image<K: Kind>() -> Result<()> {
    /// What a page of an image is not: on a list of the page cache's, free, anonymous, poisoned,
    /// or no page (`KPF_*`).
    const NEVER: u64 = (1 << 5) | (1 << 10) | (1 << 12) | (1 << 19) | NO_PAGE;
    const NO_PAGE: u64 = 1 << 20;
    let kind = K::serve()?;
    for image in [zoo::INLINE.name, zoo::PLAIN.name] {
        let mount = kind.mount(image, "dax")?;
        let file = File::open(mount.path().join(BIG))?;
        let frames = frames_of(&kind, image, &file)?;
        let len = usize::try_from(frames.end - frames.start)? * PAGE;
        let mut map = Mapping::new(&file, 0, len, WRITABLE, MapFlags::PRIVATE)?;
        ensure!(pages::mapped(&map)?
            .iter()
            .all(|page| page.frame().is_none()));
        ensure!(map.bytes() == &content(&file)?[..len]);
        let mapped = pages::mapped(&map)?;
        for (index, (page, frame)) in mapped.iter().zip(frames.clone()).enumerate() {
            ensure!(page.frame() == Some(frame), "page {index}: {page:x?}");
            ensure!(page.is_file(), "page {index}: {page:x?}");
        }
        for (frame, flags) in frames.clone().zip(pages::flags(frames.clone())?) {
            let is_ours = match K::MEMORY {
                Memory::Ram => flags & NEVER == 0,
                // Of these procfs may not know that they are pages.
                Memory::Blocks | Memory::FsDax => flags & (NEVER & !NO_PAGE) == 0,
            };
            ensure!(is_ours, "page frame {frame:#x}: flags {flags:#x}");
        }
        map.bytes_mut()[PAGE] ^= 1;
        let copy = pages::mapped(&map)?[1];
        let is_other = copy.frame().is_some_and(|frame| !frames.contains(&frame));
        ensure!(is_other && !copy.is_file(), "after writing: {copy:x?}");
        drop((map, file));
        mount.unmount()?;
    }
    kind.end()
}

/// The page frames that hold the whole pages of a file that is in one piece.
fn frames_of(kind: &impl Kind, image: &str, file: &File) -> Result<Range<u64>> {
    let page = u64::try_from(PAGE)?;
    let extent = *extents(file, 0, u64::MAX)?.first().context("no extent")?;
    ensure!(
        extent.logical == 0 && extent.physical % page == 0,
        "{extent:?}"
    );
    // Extents count from the beginning of the device.
    let in_image = extent.physical - kind.source(image)?.offset;
    let first = kind.frames(image)?.start + in_image / page;
    let whole = extent.length.min(file.metadata()?.len()) / page;
    Ok(first..first + whole)
}

/// What the kernel counts of an image's pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    first: u64,
    references: Vec<u32>,
    maps: Vec<u32>,
    /// Of compound pages, which are mapped as a whole or in parts, all that is kept.
    rest: Vec<Vec<u8>>,
}

impl Counts {
    /// Those of these page frames, and of all frames of their blocks.
    pub(super) fn of<K: Kind>(structs: &PageStructs, frames: Range<u64>) -> Result<Self> {
        let (frames, rest) = match K::MEMORY {
            Memory::Ram | Memory::FsDax => (frames, Vec::new()),
            Memory::Blocks => {
                let whole = frames.start / BLOCK * BLOCK..frames.end.next_multiple_of(BLOCK);
                (whole.clone(), structs.contents(whole)?)
            }
        };
        Ok(Self {
            first: frames.start,
            references: structs.references(frames.clone())?,
            maps: structs.map_counts(frames)?,
            rest,
        })
    }

    /// They are again what they were.
    pub(super) fn check(&self, before: &Self) -> Result<()> {
        ensure!(self.maps == before.maps, "map counts have changed");
        ensure!(
            self.references == before.references,
            "references have changed"
        );
        let changed = |(now, then): (&Vec<u8>, &Vec<u8>)| now != then;
        let changed = self.rest.iter().zip(&before.rest).position(changed);
        ensure!(changed.is_none(), "page {changed:?} has changed");
        Ok(())
    }

    /// There is one mapping more of each page than before, and one reference for it. A block that
    /// is mapped as a whole has one reference.
    fn check_one_more<K: Kind>(&self, before: &Self, frames: Range<u64>) -> Result<()> {
        match K::MEMORY {
            Memory::Ram => {
                let one_more = |now: &[u32], then: &[u32]| {
                    let grown = |(now, then): (&u32, &u32)| *now == then.wrapping_add(1);
                    now.iter().zip(then).all(grown)
                };
                ensure!(one_more(&self.maps, &before.maps), "another map count");
                ensure!(
                    one_more(&self.references, &before.references),
                    "another number of references"
                );
            }
            Memory::Blocks => {
                let heads = (self.first..).zip(&self.references).zip(&before.references);
                for ((head, now), then) in heads.step_by(usize::try_from(BLOCK)?) {
                    let part = frames.start.max(head)..frames.end.min(head + BLOCK);
                    let expected = match part.end.saturating_sub(part.start) {
                        BLOCK => 1,
                        pages => pages,
                    };
                    let more = u64::from(*now).checked_sub(u64::from(*then));
                    ensure!(
                        more == Some(expected),
                        "block {head:#x}: {more:?}, not {expected}"
                    );
                }
            }
            // They are single or compound pages as it pleases `fs/dax.c`.
            Memory::FsDax => {}
        }
        Ok(())
    }
}

/// Each mapping of a page has one reference to it, and none is left when all are gone.
pub(super) fn counts_return<K: Kind>() -> Result<()> {
    let kind = K::serve()?;
    let image = zoo::PLAIN.name;
    let mount = kind.mount(image, "dax")?;
    let file = File::open(mount.path().join(BIG))?;
    let frames = frames_of(&kind, image, &file)?;
    let len = usize::try_from(frames.end - frames.start)? * PAGE;
    let structs = PageStructs::find()?;
    let of_image = Counts::of::<K>(&structs, kind.frames(image)?)?;
    let before = Counts::of::<K>(&structs, frames.clone())?;

    let map = Mapping::new(
        &file,
        0,
        len,
        ProtFlags::READ,
        MapFlags::SHARED | MapFlags::POPULATE,
    )?;
    let mapped = Counts::of::<K>(&structs, frames.clone())?;
    mapped.check_one_more::<K>(&before, frames.clone())?;
    drop(map);
    Counts::of::<K>(&structs, frames.clone())?.check(&before)?;

    let mut map = Mapping::new(&file, 0, len, WRITABLE, MapFlags::PRIVATE)?;
    map.lock()?;
    overwrite(&mut map);
    let (reader, writer) = pipe()?;
    splice_pages(&writer, &map.bytes()[PAGE..2 * PAGE])?;
    let status = in_child(|| {
        map.relocate()?;
        map.advise(0..len, Advice::LinuxDontNeed)?;
        map.bytes_mut().fill(1);
        Ok(())
    })?;
    ensure!(status.success(), "the child: {status}");
    drop((map, reader, writer, file));
    mount.unmount()?;
    Counts::of::<K>(&structs, kind.frames(image)?)?.check(&of_image)?;
    kind.end()
}
