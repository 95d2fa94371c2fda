// SPDX-License-Identifier: GPL-2.0

//! Programs that wait for a word in a mapping, and those that handle faults themselves.

use std::{sync::atomic::Ordering, thread, time::Duration};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
    userfault::{Mode, UserFault},
};
use rustix::{
    io::Errno,
    thread::futex::{self, Flags},
};

use super::{
    check_dies, check_file, check_overwritten, each_big, each_big_and_options, overwrite, signal,
    OPTIONS, WRITABLE,
};
use crate::{
    kinds::{with_each, Kind, Memory},
    suites::zoo,
};

/// Waits and is woken in a private mapping, whether the key is private as well or not.
pub(super) fn futex<K: Kind>() -> Result<()> {
    const AT: usize = 7 * PAGE + 16;
    each_big::<K>(|file, whole| {
        for flags in [Flags::PRIVATE, Flags::empty()] {
            let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
            let before = u32::from_ne_bytes(whole[AT..AT + 4].try_into()?);
            let word = map.word(AT);
            let answer = futex::wait(word, flags, !before, None);
            ensure!(answer == Err(Errno::AGAIN), "{flags:?}: {answer:?}");
            thread::scope(|scope| {
                let waiter = scope.spawn(|| futex::wait(word, flags, before, None));
                while futex::wake(word, flags, 1)? == 0 {
                    ensure!(
                        !waiter.is_finished(),
                        "it does not wait: {:?}",
                        waiter.join()
                    );
                    thread::sleep(Duration::from_millis(1));
                }
                let woken = waiter.join();
                ensure!(matches!(woken, Ok(Ok(()))), "{flags:?}: {woken:?}");
                Ok(())
            })?;
            word.store(!before, Ordering::SeqCst);
            let answer = futex::wait(word, flags, before, None);
            ensure!(answer == Err(Errno::AGAIN), "{flags:?}: {answer:?}");
        }
        check_file(file, whole)
    })
}

/// Where the page is the image's own there is no inode behind it to make a common key of
/// (docs/differences.md), unless `fs/dax.c` has recorded one.
pub(super) fn shared_futex<K: Kind>() -> Result<()> {
    let direct = match K::MEMORY {
        Memory::Ram | Memory::Blocks => Err(Errno::FAULT),
        Memory::FsDax => Ok(0),
    };
    for (options, expected) in OPTIONS.into_iter().zip([direct, Ok(0)]) {
        with_each::<K>(&[zoo::PLAIN.name], options, |root, _| {
            let file = std::fs::File::open(root.join(super::BIG))?;
            let mut map = Mapping::new(&file, 0, PAGE, ProtFlags::READ, MapFlags::SHARED)?;
            let answer = futex::wake(map.word(0), Flags::empty(), 1);
            ensure!(answer == expected, "{answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// As for every file that is not in a tmpfs.
pub(super) fn userfaultfd_missing_is_refused<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        let refused = UserFault::new(Mode::Missing)?.watch(&mut map);
        let code = refused.as_ref().map_err(Errno::from_io_error);
        ensure!(code == Err(Some(Errno::INVAL)), "{refused:?}");
        ensure!(&map.bytes()[..whole.len()] == whole);
        Ok(())
    })
}

/// Pages whose writes are to be noticed, those that are there and those that are not. The latter
/// `fs/dax.c` cannot map for reading.
pub(super) fn userfaultfd_writes<K: Kind>() -> Result<()> {
    each_big_and_options::<K>(|file, whole, options| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        ensure!(map.touch(100 * PAGE) == whole[100 * PAGE]);
        let watch = |map: &mut Mapping| -> Result<UserFault> {
            let fault = UserFault::new(Mode::WrittenAsync)?;
            fault.watch(map).context("UFFDIO_REGISTER")?;
            fault.protect(map).context("UFFDIO_WRITEPROTECT")?;
            Ok(fault)
        };
        if K::makes_dax_files(options) {
            // Forked processes are not watched, unless they do it themselves.
            check_dies(signal::BUS, || {
                watch(&mut map).map(|_fault| map.touch(PAGE))
            })?;
        }
        let _fault = watch(&mut map)?;
        if K::makes_dax_files(options) {
            map.bytes_mut()[5 * PAGE] = !whole[5 * PAGE];
            let (written, rest) = (map.touch(5 * PAGE), map.touch(5 * PAGE + 1));
            ensure!(written == !whole[5 * PAGE] && rest == whole[5 * PAGE + 1]);
        } else {
            ensure!(&map.bytes()[..whole.len()] == whole, "before writing");
            overwrite(&mut map);
            check_overwritten(&map, whole)?;
        }
        check_file(file, whole)
    })
}
