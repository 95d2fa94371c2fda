// SPDX-License-Identifier: GPL-2.0

//! Where a file ends, and where it has nothing: zeros, and behind them no memory at all.

use std::{fs::File, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::{MapFlags, Mapping, ProtFlags, PAGE};

use super::{check_dies, each_big, signal, OPTIONS, WRITABLE};
use crate::{
    expectation::Entry,
    kinds::{with_each, Kind},
    suites::zoo,
};

pub(super) fn zeros_beyond_the_end<K: Kind>() -> Result<()> {
    let check = |root: &Path, entries: &[Entry]| -> Result<()> {
        for entry in entries.iter().filter(|entry| entry.sha256.is_some()) {
            let size = usize::try_from(entry.size.context("no size")?)?;
            if size % PAGE == 0 {
                continue;
            }
            let file = File::open(root.join(entry.path()))?;
            for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
                let map = Mapping::new(&file, 0, size, ProtFlags::READ, flags)?;
                let tail = &map.bytes()[size..];
                ensure!(
                    tail.iter().all(|byte| *byte == 0),
                    "{}",
                    entry.path().display()
                );
            }
            // Written to by one program, seen by none other.
            let mut mine = Mapping::new(&file, 0, size, WRITABLE, MapFlags::PRIVATE)?;
            mine.bytes_mut()[size] = 0xaa;
            let other = Mapping::read_only(&file, size)?;
            ensure!(other.touch(size) == 0, "{}", entry.path().display());
        }
        Ok(())
    };
    for options in ["dax", "", "dax=never"] {
        with_each::<K>(&[zoo::INLINE.name, zoo::GARBAGE.name], options, check)?;
    }
    with_each::<K>(&[zoo::SMALL_BLOCKS.name], "", check)
}

/// Holes are mapped without memory of their own, and what one program writes there is its own.
pub(super) fn holes_are_zeros<K: Kind>() -> Result<()> {
    const STRIPE: usize = 16 << 10;
    for options in OPTIONS {
        with_each::<K>(&[zoo::CHUNKED.name], options, |root, _| {
            let only = File::open(root.join("zeros/only"))?;
            let mut mine = Mapping::new(&only, 0, 16 * PAGE, WRITABLE, MapFlags::PRIVATE)?;
            ensure!(
                mine.bytes().iter().all(|byte| *byte == 0),
                "a hole shows bytes"
            );
            mine.bytes_mut().fill(0x55);
            for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
                let other = Mapping::new(&only, 0, 16 * PAGE, ProtFlags::READ, flags)?;
                ensure!(
                    other.bytes().iter().all(|byte| *byte == 0),
                    "a hole shows what another program wrote"
                );
            }
            // A block of data, then a hole of three, again and again.
            let striped = File::open(root.join("zeros/striped"))?;
            let map = Mapping::read_only(&striped, 20 * STRIPE)?;
            for stripe in map.bytes().chunks(STRIPE) {
                let (data, hole) = stripe.split_at(PAGE);
                ensure!(data.iter().all(|byte| *byte != 0), "data with zeros");
                ensure!(hole.iter().all(|byte| *byte == 0), "a hole with data");
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn sigbus_beyond_the_last_page<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let size = whole.len().next_multiple_of(PAGE);
        let map = Mapping::read_only(file, size + 4 * PAGE)?;
        for at in [size, size + 1, size + 3 * PAGE] {
            check_dies(signal::BUS, || map.touch(at))?;
        }
        let mut map = Mapping::new(file, 0, size + 4 * PAGE, WRITABLE, MapFlags::PRIVATE)?;
        check_dies(signal::BUS, || map.bytes_mut()[size] = 1)?;
        let far = Mapping::new(file, 1 << 30, PAGE, ProtFlags::READ, MapFlags::PRIVATE)?;
        check_dies(signal::BUS, || far.touch(0))
    })
}
