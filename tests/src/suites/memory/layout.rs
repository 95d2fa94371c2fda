// SPDX-License-Identifier: GPL-2.0

//! Changes to mappings: of their place and protection, and advice about their use.

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::{Advice, MapFlags, Mapping, MprotectFlags, ProtFlags, PAGE};
use rustix::{io::Errno, mm::MsyncFlags};

use super::{
    accounts::Smaps, check_dies, check_file, check_overwritten, check_overwritten_to, each_big,
    each_big_and_options, overwrite, signal, BIG, WRITABLE,
};
use crate::kinds::Kind;

pub(super) fn at_an_offset<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        for page in [1, 15, 16, 17, 333] {
            let map = Mapping::new(
                file,
                (page * PAGE) as u64,
                3 * PAGE,
                ProtFlags::READ,
                MapFlags::PRIVATE,
            )?;
            ensure!(
                map.bytes() == &whole[page * PAGE..(page + 3) * PAGE],
                "from page {page} on"
            );
        }
        Ok(())
    })
}

pub(super) fn populated<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        for (protection, flags) in [
            (ProtFlags::READ, MapFlags::PRIVATE),
            (ProtFlags::READ, MapFlags::SHARED),
            (WRITABLE, MapFlags::PRIVATE),
        ] {
            let map = Mapping::new(file, 0, whole.len(), protection, flags | MapFlags::POPULATE)?;
            ensure!(
                &map.bytes()[..whole.len()] == whole,
                "{protection:?} {flags:?}"
            );
        }
        Ok(())
    })
}

pub(super) fn protection_changes<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(PAGE) == whole[PAGE]);
        map.protect(0..8 * PAGE, MprotectFlags::empty())?;
        check_dies(signal::SEGV, || map.touch(PAGE))?;
        map.protect(0..8 * PAGE, MprotectFlags::READ | MprotectFlags::WRITE)?;
        map.bytes_mut()[PAGE] = !whole[PAGE];
        ensure!(map.touch(PAGE) == !whole[PAGE] && map.touch(PAGE + 1) == whole[PAGE + 1]);
        map.protect(0..8 * PAGE, MprotectFlags::READ | MprotectFlags::EXEC)?;
        ensure!(map.touch(2 * PAGE) == whole[2 * PAGE]);
        check_file(file, whole)
    })
}

pub(super) fn unmapped_in_the_middle<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(100 * PAGE) == whole[100 * PAGE]);
        let (before, after) = map.punch(90 * PAGE..110 * PAGE)?;
        ensure!(before.bytes() == &whole[..90 * PAGE], "before the hole");
        ensure!(
            after.bytes()[..whole.len() - 110 * PAGE] == whole[110 * PAGE..],
            "after the hole"
        );
        Ok(())
    })
}

/// Pages move with the mapping, written and unwritten ones, and the file goes on behind them.
pub(super) fn moved_and_resized<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let half = whole.len() / 2 / PAGE * PAGE;
        let mut map = Mapping::new(file, 0, half, WRITABLE, MapFlags::PRIVATE)?;
        overwrite(&mut map);
        let before = map.bytes().as_ptr();
        map.relocate()?;
        ensure!(map.bytes().as_ptr() != before, "it has not moved");
        check_overwritten(&map, whole)?;
        map.resize(whole.len())?;
        check_overwritten_to(&map, whole, half)?;
        map.resize(3 * PAGE)?;
        map.relocate()?;
        map.resize(whole.len())?;
        // What was cut off and mapped again is the file's.
        check_overwritten_to(&map, whole, 3 * PAGE)?;
        check_file(file, whole)
    })
}

pub(super) fn dropped_pages_come_back<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        overwrite(&mut map);
        let length = map.bytes().len();
        map.advise(0..length, Advice::LinuxDontNeed)?;
        ensure!(
            &map.bytes()[..whole.len()] == whole,
            "not what the file has"
        );
        map.advise(0..length, Advice::Random)?;
        map.advise(0..length, Advice::WillNeed)?;
        ensure!(&map.bytes()[..whole.len()] == whole, "after other advice");
        Ok(())
    })
}

/// Advice changes no byte, whether it is taken or refused.
pub(super) fn advice<K: Kind>() -> Result<()> {
    const WRITTEN_PAGES: usize = 60;
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        let all = map.bytes().len();
        overwrite(&mut map);
        for advice in [
            Advice::WillNeed,
            Advice::LinuxCold,
            Advice::LinuxPageOut,
            Advice::Sequential,
            Advice::Random,
            Advice::Normal,
            Advice::LinuxPopulateRead,
            Advice::LinuxMergeable,
            Advice::LinuxUnmergeable,
            Advice::LinuxDontFork,
            Advice::LinuxDoFork,
        ] {
            map.advise(0..all, advice)
                .with_context(|| format!("{advice:?}"))?;
            check_overwritten(&map, whole).with_context(|| format!("{advice:?}"))?;
        }
        for (advice, expected) in [
            // Pages of files cannot be freed lazily, and holes not be made in this one.
            (Advice::LinuxFree, Errno::INVAL),
            (Advice::LinuxRemove, Errno::ACCESS),
        ] {
            let answer = map.advise(0..all, advice);
            ensure!(answer == Err(expected), "{advice:?}: {answer:?}");
        }
        map.advise(0..WRITTEN_PAGES * PAGE, Advice::LinuxPopulateWrite)?;
        check_overwritten(&map, whole)?;
        check_file(file, whole)
    })
}

/// mlock(2) takes files that are `S_DAX` for memory already, so that it only maps them.
pub(super) fn locked<K: Kind>() -> Result<()> {
    each_big_and_options::<K>(|file, whole, options| {
        let map = Mapping::read_only(file, whole.len())?;
        map.lock()?;
        let smaps = Smaps::of(BIG)?;
        ensure!(&map.bytes()[..whole.len()] == whole);
        let all = u64::try_from(whole.len().next_multiple_of(PAGE) / 1024)?;
        let locked = if K::makes_dax_files(options) { 0 } else { all };
        for (field, expected) in [("Rss", all), ("Locked", locked)] {
            let kib = smaps.kib(field)?;
            ensure!(kib == expected, "{field}: {kib} KiB, not {expected}");
        }
        Ok(())
    })
}

/// mincore(2) tells which pages a program has mapped.
pub(super) fn in_core<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::read_only(file, whole.len())?;
        map.lock()?;
        let resident = map.resident()?;
        ensure!(
            resident.iter().all(|resident| *resident),
            "{} of {} pages after locking",
            resident.iter().filter(|resident| **resident).count(),
            resident.len()
        );
        let all = map.bytes().len();
        map.unlock()?;
        map.advise(0..all, Advice::LinuxDontNeed)?;
        ensure!(map.touch(200 * PAGE) == whole[200 * PAGE]);
        ensure!(map.resident()?[200], "a page that was just read");
        Ok(())
    })
}

/// There is nothing to write back.
pub(super) fn synchronized<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let shared = Mapping::new(file, 0, whole.len(), ProtFlags::READ, MapFlags::SHARED)?;
        let mut private = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        overwrite(&mut private);
        for flags in [MsyncFlags::SYNC, MsyncFlags::ASYNC, MsyncFlags::INVALIDATE] {
            shared.sync(flags)?;
            private.sync(flags)?;
        }
        check_overwritten(&private, whole)?;
        check_file(file, whole)
    })
}
