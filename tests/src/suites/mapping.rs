// SPDX-License-Identifier: GPL-2.0

//! Files in memory: the image's own pages in programs.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::{
        fs::{FileExt, OpenOptionsExt},
        process::ExitStatusExt,
    },
    path::Path,
    thread,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Advice, MapFlags, Mapping, MprotectFlags, ProtFlags, PAGE},
    memory::Memory,
    module,
    system::{in_child, read_own_memory, splice_pages},
};
use rustix::{
    fs::OFlags,
    io::Errno,
    pipe::{fcntl_setpipe_size, pipe},
};

use crate::{
    erodax::{check_no_leak, mount, serve_initrd, unload, with_each, GOOD},
    expectation::Entry,
    image::{Content, Image},
    suites::{zoo, BIGGER},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "mapping",
    machine: Machine {
        cpus: 2,
        modules: &["brd"],
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::INLINE,
            zoo::PLAIN,
            zoo::EXTENDED,
            zoo::COMPACT,
            zoo::GARBAGE,
            zoo::SMALL_BLOCKS,
        ],
        ..BIGGER
    },
    tests: tests![
        private_and_shared,
        at_an_offset,
        populated,
        copy_on_write,
        write_before_read,
        shared_writing_is_refused,
        protection_changes,
        unmapped_in_the_middle,
        dropped_pages_come_back,
        locked,
        inherited_by_fork,
        zeros_beyond_the_end,
        sigbus_beyond_the_last_page,
        direct_io_from_a_mapping,
        spliced_from_a_mapping,
        read_by_a_debugger,
        many_threads_fault_at_once,
        no_page_cache,
        outlives_the_open_file,
        leaks_nothing,
    ],
};

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// A file of several hundred pages that ends in the middle of one.
const BIG: &str = "big";

/// The big file of each image, with its content, under `-o dax` and through the page cache.
fn each_big(mut body: impl FnMut(&File, &[u8]) -> Result<()>) -> Result<()> {
    for options in ["dax", "dax=never"] {
        with_each(&[zoo::INLINE.name, zoo::PLAIN.name], options, |root, _| {
            let file = File::open(root.join(BIG))?;
            let mut whole = Vec::new();
            (&file).read_to_end(&mut whole)?;
            ensure!(
                whole.len() > 500 * PAGE && whole.len() % PAGE != 0,
                "{} bytes",
                whole.len()
            );
            body(&file, &whole)
        })?;
    }
    Ok(())
}

fn private_and_shared() -> Result<()> {
    each_big(|file, whole| {
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let map = Mapping::new(file, 0, whole.len(), ProtFlags::READ, flags)?;
            ensure!(&map.bytes()[..whole.len()] == whole, "{flags:?}");
        }
        Ok(())
    })
}

fn at_an_offset() -> Result<()> {
    each_big(|file, whole| {
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

fn populated() -> Result<()> {
    each_big(|file, whole| {
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

/// What a program writes into its private mapping is its own.
fn copy_on_write() -> Result<()> {
    each_big(|file, whole| {
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

fn write_before_read() -> Result<()> {
    each_big(|file, whole| {
        let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
        overwrite(&mut map);
        check_overwritten(&map, whole)?;
        check_file(file, whole)
    })
}

/// One byte in every third page.
fn overwrite(map: &mut Mapping) {
    for byte in map.bytes_mut().iter_mut().step_by(3 * PAGE) {
        *byte = !*byte;
    }
}

fn check_overwritten(map: &Mapping, whole: &[u8]) -> Result<()> {
    for (at, (now, then)) in map.bytes().iter().zip(whole).enumerate() {
        let expected = if at % (3 * PAGE) == 0 { !*then } else { *then };
        ensure!(*now == expected, "byte {at}");
    }
    Ok(())
}

fn check_file(file: &File, whole: &[u8]) -> Result<()> {
    let mut now = vec![0; whole.len()];
    file.read_exact_at(&mut now, 0)?;
    ensure!(now == whole, "the file has changed");
    Ok(())
}

fn shared_writing_is_refused() -> Result<()> {
    each_big(|file, whole| {
        let shared = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::SHARED).map(drop);
        ensure!(shared == Err(Errno::ACCESS), "{shared:?}");
        let mut map = Mapping::new(file, 0, whole.len(), ProtFlags::READ, MapFlags::SHARED)?;
        let later = map.protect(0..PAGE, MprotectFlags::READ | MprotectFlags::WRITE);
        ensure!(later == Err(Errno::ACCESS), "{later:?}");
        Ok(())
    })
}

fn protection_changes() -> Result<()> {
    each_big(|file, whole| {
        let mut map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(PAGE) == whole[PAGE]);
        map.protect(0..8 * PAGE, MprotectFlags::empty())?;
        check_dies(libc_signal::SEGV, || map.touch(PAGE))?;
        map.protect(0..8 * PAGE, MprotectFlags::READ | MprotectFlags::WRITE)?;
        map.bytes_mut()[PAGE] = !whole[PAGE];
        ensure!(map.touch(PAGE) == !whole[PAGE] && map.touch(PAGE + 1) == whole[PAGE + 1]);
        map.protect(0..8 * PAGE, MprotectFlags::READ | MprotectFlags::EXEC)?;
        ensure!(map.touch(2 * PAGE) == whole[2 * PAGE]);
        check_file(file, whole)
    })
}

fn unmapped_in_the_middle() -> Result<()> {
    each_big(|file, whole| {
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

fn dropped_pages_come_back() -> Result<()> {
    each_big(|file, whole| {
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

fn locked() -> Result<()> {
    each_big(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        map.lock()?;
        let status = fs::read_to_string("/proc/self/smaps")?;
        ensure!(&map.bytes()[..whole.len()] == whole);
        let rss = rss_of(&status, BIG).context("the mapping is not in smaps")?;
        ensure!(
            rss >= whole.len() as u64 / 1024,
            "{rss} KiB of {} bytes are resident",
            whole.len()
        );
        Ok(())
    })
}

/// `Rss` in KiB of the first mapping of a file of this name.
fn rss_of(smaps: &str, name: &str) -> Option<u64> {
    let suffix = format!("/{name}");
    let mut lines = smaps.lines().skip_while(|line| !line.ends_with(&suffix));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:"))?;
    rss.trim().strip_suffix(" kB")?.parse().ok()
}

fn inherited_by_fork() -> Result<()> {
    each_big(|file, whole| {
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

fn zeros_beyond_the_end() -> Result<()> {
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
        with_each(&[zoo::INLINE.name, zoo::GARBAGE.name], options, check)?;
    }
    with_each(&[zoo::SMALL_BLOCKS.name], "", check)
}

fn sigbus_beyond_the_last_page() -> Result<()> {
    each_big(|file, whole| {
        let size = whole.len().next_multiple_of(PAGE);
        let map = Mapping::read_only(file, size + 4 * PAGE)?;
        for at in [size, size + 1, size + 3 * PAGE] {
            check_dies(libc_signal::BUS, || map.touch(at))?;
        }
        let mut map = Mapping::new(file, 0, size + 4 * PAGE, WRITABLE, MapFlags::PRIVATE)?;
        check_dies(libc_signal::BUS, || map.bytes_mut()[size] = 1)?;
        let far = Mapping::new(file, 1 << 30, PAGE, ProtFlags::READ, MapFlags::PRIVATE)?;
        check_dies(libc_signal::BUS, || far.touch(0))
    })
}

/// Signal numbers, the same on every architecture that the tests run on.
mod libc_signal {
    pub(super) const BUS: i32 = 7;
    pub(super) const SEGV: i32 = 11;
}

fn check_dies<T>(signal: i32, body: impl FnOnce() -> T) -> Result<()> {
    let status = in_child(|| {
        body();
        Ok(())
    })?;
    ensure!(
        status.signal() == Some(signal),
        "{status}, not signal {signal}"
    );
    Ok(())
}

/// A disk that reads straight from the image's pages, without a copy in between.
fn direct_io_from_a_mapping() -> Result<()> {
    let brd = module::load("brd")?;
    each_big(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        let whole_pages = whole.len() / PAGE * PAGE;
        let disk = File::options()
            .read(true)
            .write(true)
            .custom_flags(i32::try_from(OFlags::DIRECT.bits())?)
            .open("/dev/ram0")?;
        disk.write_all_at(&map.bytes()[..whole_pages], 0)
            .context("O_DIRECT write")?;
        drop(disk);
        let mut back = vec![0; whole_pages];
        File::open("/dev/ram0")?.read_exact_at(&mut back, 0)?;
        ensure!(back == whole[..whole_pages], "the disk has something else");
        Ok(())
    })?;
    drop(brd);
    Ok(())
}

fn spliced_from_a_mapping() -> Result<()> {
    each_big(|file, whole| {
        const LENGTH: usize = 16 * PAGE;
        let map = Mapping::read_only(file, whole.len())?;
        let (reader, writer) = pipe()?;
        fcntl_setpipe_size(&writer, LENGTH)?;
        let spliced = splice_pages(&writer, &map.bytes()[..LENGTH])?;
        ensure!(spliced == LENGTH, "{spliced} bytes");
        // The pages in the pipe stay valid without the mapping.
        drop(map);
        drop(writer);
        let mut back = Vec::new();
        File::from(reader).read_to_end(&mut back)?;
        ensure!(
            back == whole[..LENGTH],
            "something else comes out of the pipe"
        );
        Ok(())
    })
}

fn read_by_a_debugger() -> Result<()> {
    each_big(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        let mut copy = vec![0; whole.len()];
        let read = read_own_memory(&map.bytes()[..whole.len()], &mut copy)?;
        ensure!(read == whole.len() && copy == whole, "process_vm_readv");
        let address = map.bytes().as_ptr() as u64;
        File::open("/proc/self/mem")?.read_exact_at(&mut copy, address)?;
        ensure!(copy == whole, "/proc/self/mem");
        Ok(())
    })
}

fn many_threads_fault_at_once() -> Result<()> {
    each_big(|file, whole| {
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

fn no_page_cache() -> Result<()> {
    const ALLOWED_KIB: u64 = 64;
    with_each(&zoo::NAMES, "dax", |root, entries| {
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

fn outlives_the_open_file() -> Result<()> {
    let module = serve_initrd()?;
    let mount = mount(zoo::INLINE.name, "dax")?;
    let path = mount.path().join(BIG);
    let whole = fs::read(&path)?;
    let map = Mapping::read_only(File::open(&path)?, whole.len())?;
    let busy = rustix::mount::unmount(mount.path(), rustix::mount::UnmountFlags::empty());
    ensure!(busy == Err(Errno::BUSY), "{busy:?}");
    ensure!(map.bytes()[..whole.len()] == whole);
    drop(map);
    mount.unmount()?;
    unload(module)
}

/// Pages that were mapped, copied, locked and handed to pipes have their references back.
fn leaks_nothing() -> Result<()> {
    let module = serve_initrd()?;
    check_no_leak(|| {
        let mount = mount(zoo::INLINE.name, "dax")?;
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
    unload(module)
}
