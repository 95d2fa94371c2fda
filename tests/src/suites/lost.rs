// SPDX-License-Identifier: GPL-2.0

//! Pages of a carve-out that the hardware has lost, as the kernel is told by `MADV_HWPOISON`.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::extents,
    kmsg::KernelLog,
    mapping::{Advice, MapFlags, Mapping, ProtFlags, PAGE},
    pages,
};
use rustix::{
    io::Errno,
    pipe::{pipe, splice, SpliceFlags},
};

use super::{
    carve_outs::{huge_pages, serve, BIG, BLOCK, WHOLE_SECTION},
    memory::{check_dies, signal},
    zoo, BIGGER,
};
use crate::{
    erodax::{load, messages, mount_refused, mount_source, unload, Device},
    process::Process,
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "lost",
    machine: Machine {
        cpus: 2,
        cmdline: &["retain_initrd", WHOLE_SECTION],
        images: &[zoo::PLAIN],
        ..BIGGER
    },
    tests: tests![
        kills_users_only,
        cannot_be_read,
        copies_stay,
        the_rest_by_small_pages,
        superblock,
        while_others_fault,
    ],
};

const NODE: &str = "/dev/erodax0";
const LOST: usize = 100;
const LOST_BYTES: Range<usize> = LOST * PAGE..(LOST + 1) * PAGE;

/// Runs `body` on the big file, which begins at a block, and its content. Then unmounts and unloads,
/// which must not have to wait for pages.
fn with_big(body: impl FnOnce(&File, &[u8]) -> Result<()>) -> Result<()> {
    let (_, module) = serve()?;
    let mut log = KernelLog::from_now()?;
    let mount = mount_source(Path::new(NODE), "dax", "lost")?;
    let path = mount.path().join(BIG);
    let (file, whole) = (File::open(&path)?, fs::read(&path)?);
    ensure!(whole.len() > BLOCK + BLOCK / 4, "{} bytes", whole.len());
    body(&file, &whole)?;
    drop(file);
    mount.unmount()?;
    unload(module)?;
    let messages = messages(&mut log)?;
    let is_said = |word| messages.iter().any(|line| line.contains(word));
    ensure!(is_said("lost") && !is_said("waiting"), "{messages:?}");
    Ok(())
}

/// Lets the hardware lose a page of a mapping.
fn lose(map: &mut Mapping, page: usize) -> Result<()> {
    map.touch(page * PAGE);
    let bytes = page * PAGE..(page + 1) * PAGE;
    map.advise(bytes, Advice::LinuxHwPoison)
        .with_context(|| format!("page {page}"))
}

fn lose_of(file: &File) -> Result<()> {
    lose(&mut Mapping::read_only(file, LOST_BYTES.end)?, LOST)
}

/// Where the big file begins in the device.
fn place_of(big: &File) -> Result<u64> {
    let extents = extents(big, 0, 1)?;
    Ok(extents.first().context("no extent")?.physical)
}

/// A process that has some pages mapped. It looks at them again in the end, at the lost one last.
fn user(file: &File, at: u64, whole: &[u8], pages: Range<usize>) -> Result<Process> {
    let bytes = pages.start * PAGE..pages.end * PAGE;
    let (expected, lost) = (
        &whole[bytes.clone()],
        LOST_BYTES.start.wrapping_sub(bytes.start),
    );
    let start = at + u64::try_from(bytes.start)?;
    Process::start(
        || {
            let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
            let map = Mapping::new(file, start, expected.len(), read, shared)?;
            ensure!(map.bytes() == expected, "before");
            Ok(map)
        },
        |map| {
            ensure!(pages.contains(&LOST) || map.bytes() == expected, "others");
            if pages.contains(&LOST) {
                let (before, after) = (0..lost, lost + PAGE..expected.len());
                for intact in [before, after] {
                    ensure!(map.bytes()[intact.clone()] == expected[intact], "around");
                }
                map.touch(lost);
            }
            Ok(())
        },
    )
}

/// Who has the page mapped gets SIGBUS when it is used again, by whichever file; others do not
/// notice.
fn kills_users_only() -> Result<()> {
    with_big(|file, whole| {
        let corrupted = meminfo("HardwareCorrupted")?;
        // Other options, and so another superblock.
        let second = mount_source(Path::new(NODE), "", "second")?;
        let (other, device) = (File::open(second.path().join(BIG))?, File::open(NODE)?);
        let place = place_of(file)?;
        let all = 0..whole.len() / PAGE;
        let users = [
            ("by a huge page", user(file, 0, whole, all.clone())?),
            ("few pages", user(file, 0, whole, LOST - 1..LOST + 2)?),
            ("another mount", user(&other, 0, whole, all.clone())?),
            ("the device", user(&device, place, whole, all)?),
        ];
        // The same place in every 64 pages is what one flag of a page would mean.
        let others = [
            ("before", user(file, 0, whole, 0..LOST)?),
            ("after", user(file, 0, whole, LOST + 1..LOST + 200)?),
            (
                "after, another mount",
                user(&other, 0, whole, LOST + 1..300)?,
            ),
        ];
        lose_of(file)?;
        ensure!(
            meminfo("HardwareCorrupted")? == corrupted + 4,
            "not counted"
        );
        for (name, process) in users {
            let status = process.end()?;
            ensure!(status.signal() == Some(signal::BUS), "{name}: {status}");
        }
        for (name, process) in others {
            let status = process.end()?;
            ensure!(status.success(), "{name}: {status}");
        }
        let map = Mapping::read_only(&device, LOST_BYTES.end + usize::try_from(place)?)?;
        let lost = LOST_BYTES.start + usize::try_from(place)?;
        ensure!(map.populate(lost..lost + PAGE) == Err(Errno::HWPOISON));
        drop((map, other, device));
        second.unmount()?;
        Ok(())
    })
}

/// A field in KiB.
fn meminfo(name: &str) -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines
        .find(|(field, _)| *field == name)
        .context("no field")?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

fn cannot_be_read() -> Result<()> {
    with_big(|file, whole| {
        lose_of(file)?;
        let device = File::open(NODE)?;
        for (file, at) in [(file, 0), (&device, place_of(file)?)] {
            let mut bytes = vec![0; 3 * PAGE];
            let mut read = |page: usize| file.read_at(&mut bytes, at + (page * PAGE) as u64);
            for page in [LOST + 1, LOST + 64, LOST - 3] {
                ensure!(read(page)? == 3 * PAGE, "page {page}");
            }
            ensure!(read(LOST - 1)? == PAGE, "up to the lost one");
            let error = read(LOST).err().and_then(|error| error.raw_os_error());
            ensure!(error == Some(Errno::IO.raw_os_error()), "{error:?}");
            let at = (LOST - 1) * PAGE;
            ensure!(read(LOST - 1)? == PAGE && bytes[..PAGE] == whole[at..at + PAGE]);
        }
        ensure!(
            spliced(file, LOST - 1)? == PAGE,
            "splice up to the lost one"
        );
        let error = spliced(file, LOST);
        ensure!(error == Err(Errno::IO), "splice: {error:?}");
        let copied = io::copy(&mut &*file, &mut File::create("/tmp/copy")?);
        fs::remove_file("/tmp/copy")?;
        let error = copied.err().and_then(|error| error.raw_os_error());
        ensure!(error == Some(Errno::IO.raw_os_error()), "a copy: {error:?}");
        Ok(())
    })
}

/// Splices two pages; returns the bytes that arrive.
fn spliced(file: &File, page: usize) -> Result<usize, Errno> {
    let (_reader, writer) = pipe()?;
    let mut at = (page * PAGE) as u64;
    let flags = SpliceFlags::empty();
    splice(file, Some(&mut at), &writer, None, 2 * PAGE, flags)
}

/// A program's own copy of the page is not lost, but none can be made any more.
fn copies_stay() -> Result<()> {
    const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
    with_big(|file, whole| {
        let private = || Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE);
        let (mut before, mut after) = (private()?, private()?);
        before.bytes_mut()[LOST_BYTES.start] ^= 1;
        lose_of(file)?;
        ensure!(before.touch(LOST_BYTES.start) == whole[LOST_BYTES.start] ^ 1);
        let rest = LOST_BYTES.start + 1..whole.len();
        ensure!(before.bytes()[rest.clone()] == whole[rest], "the rest");
        check_dies(signal::BUS, || after.bytes_mut()[LOST_BYTES.start] = 1)?;
        after.bytes_mut()[LOST_BYTES.end] ^= 1;
        ensure!(after.touch(LOST_BYTES.end + 1) == whole[LOST_BYTES.end + 1]);
        Ok(())
    })
}

/// No entry of a page table has the lost page, and all others are mapped.
fn the_rest_by_small_pages() -> Result<()> {
    with_big(|file, whole| {
        let before = huge_pages()?;
        let mut map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(0) == whole[0] && huge_pages()? == before + 1);
        lose(&mut map, LOST)?;
        ensure!(huge_pages()? == before, "the huge page is there still");
        ensure!(map.populate(LOST_BYTES) == Err(Errno::HWPOISON));
        for part in [
            0..LOST_BYTES.start,
            LOST_BYTES.end..whole.len() / PAGE * PAGE,
        ] {
            map.populate(part.clone())?;
            ensure!(map.bytes()[part.clone()] == whole[part], "the rest");
        }
        ensure!(huge_pages()? == before, "a huge page again");
        let mapped = pages::mapped(&map)?;
        let missing = |page: &usize| mapped[*page].frame().is_none();
        let missing: Vec<_> = (0..whole.len() / PAGE).filter(missing).collect();
        ensure!(missing == [LOST], "{missing:?}");
        // A copy in the block lets the MM map the rest, which must not be all of it.
        let flags = MapFlags::PRIVATE;
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        let mut private = Mapping::new(file, 0, whole.len(), writable, flags)?;
        private.bytes_mut()[0] = !whole[0];
        ensure!(private.bytes()[1..LOST_BYTES.start] == whole[1..LOST_BYTES.start]);
        check_dies(signal::BUS, || private.touch(LOST_BYTES.start))
    })
}

/// What cannot be read can neither be mounted.
fn superblock() -> Result<()> {
    let (_, module) = serve()?;
    lose(&mut Mapping::read_only(File::open(NODE)?, PAGE)?, 0)?;
    mount_refused(Path::new(NODE), "dax", Errno::IO, &[NODE, "cannot be read"])?;
    unload(module)
}

/// Threads that fault while pages get lost have none of them mapped afterwards.
fn while_others_fault() -> Result<()> {
    const ROUNDS: usize = 8;
    const STEP: usize = 37;
    let (address, module) = serve()?;
    let size = Device::all()?.first().context("no device")?.size;
    unload(module)?;
    for round in 0..ROUNDS {
        // What is lost is lost until the module goes.
        let module = load(&format!("region={address:#x},{size}"))?;
        let mount = mount_source(Path::new(NODE), "dax", "lost")?;
        let file = File::open(mount.path().join(BIG))?;
        let shared = Mapping::read_only(&file, BLOCK)?;
        let of_one = Mapping::read_only(&file, BLOCK)?;
        let mut losing = Mapping::read_only(&file, BLOCK)?;
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            for (map, start) in [(&shared, 0), (&shared, 7), (&of_one, 3)] {
                let ends = &ends;
                scope.spawn(move || fault_until(ends, map, start));
            }
            let lost: Vec<_> = (round..BLOCK / PAGE).step_by(STEP).collect();
            let all: Result<()> = lost.iter().enumerate().try_for_each(|(count, page)| {
                lose(&mut losing, *page)?;
                for map in [&shared, &of_one] {
                    check_unmapped(map, &lost[..=count])?;
                }
                Ok(())
            });
            ends.store(true, Ordering::SeqCst);
            all
        })
        .with_context(|| format!("round {round}"))?;
        drop((shared, of_one, losing, file));
        mount.unmount()?;
        unload(module)?;
    }
    Ok(())
}

/// Faults all pages in and drops them again. Lost ones fail, which shows in no other way here.
fn fault_until(ends: &AtomicBool, map: &Mapping, start: usize) {
    const PART: usize = 16;
    let parts = BLOCK / PAGE / PART;
    let mut part = start;
    while !ends.load(Ordering::SeqCst) {
        let bytes = part * PART * PAGE..(part + 1) * PART * PAGE;
        let _may_be_lost = map.populate(bytes);
        part = (part + 1) % parts;
        if part == start {
            // Of the whole range: what is empty then is mapped by a huge page again.
            let _succeeds = map.refault(0..BLOCK);
        }
    }
}

fn check_unmapped(map: &Mapping, lost: &[usize]) -> Result<()> {
    let mapped = pages::mapped(map)?;
    let stale: Vec<_> = lost
        .iter()
        .filter(|page| mapped[**page].frame().is_some())
        .collect();
    ensure!(stale.is_empty(), "mapped though lost: {stale:?}");
    Ok(())
}
