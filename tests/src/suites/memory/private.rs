// SPDX-License-Identifier: GPL-2.0

//! Mappings that programs read and write privately: nobody else sees what they write.

use std::{
    fs::{self, File},
    thread,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, MprotectFlags, ProtFlags, PAGE},
    memory::Memory,
    system::{in_child, splice_pages},
};
use rustix::{
    io::Errno,
    mount::{unmount, UnmountFlags},
    pipe::pipe,
};

use super::{check_file, check_overwritten, each_big, overwrite, BIG, WRITABLE};
use crate::{
    erodax::check_no_leak,
    kinds::{with_each, Kind},
    suites::zoo,
};

pub(super) fn private_and_shared<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let map = Mapping::new(file, 0, whole.len(), ProtFlags::READ, flags)?;
            ensure!(&map.bytes()[..whole.len()] == whole, "{flags:?}");
        }
        Ok(())
    })
}

/// What a program writes into its private mapping is its own.
pub(super) fn copy_on_write<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        ensure!(&map.bytes()[..whole.len()] == whole, "before writing");
        overwrite(&mut map);
        check_overwritten(&map, whole)?;
        let again = Mapping::read_only(file, whole.len())?;
        ensure!(
            &again.bytes()[..whole.len()] == whole,
            "another mapping shows what was written"
        );
        check_file(file, whole)
    })
}

pub(super) fn write_before_read<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        overwrite(&mut map);
        check_overwritten(&map, whole)?;
        check_file(file, whole)
    })
}

pub(super) fn shared_writing_is_refused<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let shared = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::SHARED).map(drop);
        ensure!(shared == Err(Errno::ACCESS), "{shared:?}");
        let mut map = Mapping::new(file, 0, whole.len(), ProtFlags::READ, MapFlags::SHARED)?;
        let later = map.protect(0..PAGE, MprotectFlags::READ | MprotectFlags::WRITE);
        ensure!(later == Err(Errno::ACCESS), "{later:?}");
        Ok(())
    })
}

pub(super) fn inherited_by_fork<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        ensure!(map.touch(5 * PAGE) == whole[5 * PAGE]);
        map.bytes_mut()[0] = !whole[0];
        let status = in_child(|| {
            ensure!(map.touch(0) == !whole[0], "what the parent wrote is gone");
            ensure!(map.bytes()[1..whole.len()] == whole[1..]);
            map.bytes_mut()[5 * PAGE] = !whole[5 * PAGE];
            map.bytes_mut()[6 * PAGE] = !whole[6 * PAGE];
            Ok(())
        })?;
        ensure!(status.success(), "the child: {status}");
        ensure!(
            map.bytes()[1..whole.len()] == whole[1..],
            "the child's writing is seen"
        );
        check_file(file, whole)
    })
}

pub(super) fn outlives_the_open_file<K: Kind>() -> Result<()> {
    let kind = K::serve()?;
    let mount = kind.mount(zoo::INLINE.name, "dax")?;
    let path = mount.path().join(BIG);
    let whole = fs::read(&path)?;
    let map = Mapping::read_only(File::open(&path)?, whole.len())?;
    let busy = unmount(mount.path(), UnmountFlags::empty());
    ensure!(busy == Err(Errno::BUSY), "{busy:?}");
    ensure!(map.bytes()[..whole.len()] == whole);
    drop(map);
    mount.unmount()?;
    kind.end()
}

pub(super) fn no_page_cache<K: Kind>() -> Result<()> {
    const ALLOWED_KIB: u64 = 64;
    with_each::<K>(&zoo::NAMES, "dax", |root, entries| {
        let before = Memory::now()?.cached;
        let mut bytes = 0;
        for entry in entries.iter().filter(|entry| entry.sha256.is_some()) {
            let size = usize::try_from(entry.size.context("no size")?)?;
            if size > 0 {
                let file = File::open(root.join(entry.path()))?;
                let map = Mapping::read_only(&file, size)?;
                bytes += map.bytes().iter().filter(|byte| **byte != 0).count();
            }
        }
        let grown = Memory::now()?.cached.saturating_sub(before);
        ensure!(bytes > 1 << 20, "only {bytes} bytes that are not zero");
        ensure!(
            grown < ALLOWED_KIB,
            "the page cache has grown by {grown} KiB"
        );
        Ok(())
    })
}

pub(super) fn many_threads_fault_at_once<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        for _ in 0..5 {
            let map = Mapping::read_only(file, whole.len())?;
            let bytes = &map.bytes()[..whole.len()];
            thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| bytes == whole)).collect();
                threads
                    .into_iter()
                    .all(|thread| thread.join().unwrap_or(false))
            })
            .then_some(())
            .context("a thread sees something else")?;
        }
        Ok(())
    })
}

/// Pages that were mapped, copied, locked and handed to pipes have their references back.
pub(super) fn leaks_nothing<K: Kind>() -> Result<()> {
    let kind = K::serve()?;
    check_no_leak(|| {
        let mount = kind.mount(zoo::INLINE.name, "dax")?;
        let file = File::open(mount.path().join(BIG))?;
        let size = usize::try_from(file.metadata()?.len())?;
        let mut map = Mapping::new(
            &file,
            0,
            size,
            WRITABLE,
            MapFlags::PRIVATE | MapFlags::POPULATE,
        )?;
        overwrite(&mut map);
        let shared = Mapping::new(&file, 0, size, ProtFlags::READ, MapFlags::SHARED)?;
        let (reader, writer) = pipe()?;
        splice_pages(&writer, &shared.bytes()[..PAGE])?;
        ensure!(shared.touch(size - 1) == map.touch(size - 1));
        drop((map, shared, reader, writer, file));
        mount.unmount().context("umount")
    })?;
    kind.end()
}
