// SPDX-License-Identifier: GPL-2.0

//! Pages of DAX devices in programs.

use std::{
    fs::{self, File},
    io::Read,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Advice, MapFlags, Mapping, ProtFlags, PAGE},
    system::{in_child, splice_pages},
};
use rustix::pipe::pipe;

use super::{
    kinds::{bytes_of, Kind, ALL, HUGE},
    lies_at, says_dax, with_mount, with_source, PROGRAM,
};
use crate::{
    erodax::{mount, mount_source, serve_initrd, unload},
    programs,
    suites::{
        memory::{check_dies, signal},
        zoo,
    },
};

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
/// A file of more than 2 MiB that ends in the middle of a page.
const BIG: &str = "big";

/// Images whose files are mapped through `fs/dax.c`, and by insertions of our own.
const BOTH_WAYS: [&str; 2] = [zoo::PLAIN.name, zoo::CHUNK_INDEXES.name];

/// Where the file `big` of an image lies from its start on.
fn place_of_big(image: &str) -> Result<u64> {
    let module = serve_initrd()?;
    let mount = mount(image, "dax")?;
    let place = lies_at(&mount.path().join(BIG))?;
    mount.unmount()?;
    unload(module)?;
    Ok(place)
}

/// Page faults of this process that needed no disk.
pub(in crate::suites) fn faults() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().context("no name")?;
    let field = after_name.split_whitespace().nth(7).context("no faults")?;
    Ok(field.parse()?)
}

/// Faults that touching each page of the file's first 2 MiB costs.
fn cost_of_first_huge_page(root: &Path) -> Result<u64> {
    let file = File::open(root.join(BIG))?;
    let whole = fs::read(root.join(BIG))?;
    let map = Mapping::read_only(&file, whole.len())?;
    let before = faults()?;
    for at in (0..HUGE as usize).step_by(PAGE) {
        std::hint::black_box(map.touch(at));
    }
    let cost = faults()? - before;
    ensure!(map.bytes()[..whole.len()] == whole, "wrong content");
    Ok(cost)
}

/// Where memory, file and address agree, one fault maps 2 MiB; where they do not, none does.
pub(super) fn huge_pages() -> Result<()> {
    let place = place_of_big(zoo::PLAIN.name)?;
    let aligned = HUGE - place % HUGE;
    for kind in ALL {
        for (offset, is_huge) in [(aligned, true), (aligned + PAGE as u64, false)] {
            with_source(kind, zoo::PLAIN.name, offset, |source| {
                let options = format!("dax,fsoffset={offset}");
                let mount = mount_source(&source.node, &options, "pmem")?;
                let cost = cost_of_first_huge_page(mount.path())?;
                println!("{kind:?}: {cost} faults for 2 MiB at {offset:#x}");
                ensure!((cost < 8) == is_huge, "{cost} faults");
                // Parts of the huge page can be had and lost one by one.
                let file = File::open(mount.path().join(BIG))?;
                let whole = fs::read(mount.path().join(BIG))?;
                let mut map = Mapping::new(&file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
                ensure!(map.bytes()[..whole.len()] == whole, "before a write");
                map.bytes_mut()[5 * PAGE] ^= 0xff;
                let again = Mapping::read_only(&file, whole.len())?;
                ensure!(again.bytes()[..whole.len()] == whole, "after a write");
                map.advise(0..5 * PAGE, Advice::LinuxDontNeed)?;
                ensure!(map.bytes()[..5 * PAGE] == whole[..5 * PAGE], "dropped");
                ensure!(map.bytes()[5 * PAGE] == !whole[5 * PAGE], "written");
                let (before, after) = map.punch(PAGE..2 * PAGE)?;
                ensure!(before.bytes() == &whole[..PAGE], "before the hole");
                ensure!(
                    after.bytes()[..3 * PAGE] == whole[2 * PAGE..5 * PAGE],
                    "after it"
                );
                drop((before, after, again, file));
                Ok(mount.unmount()?)
            })
            .with_context(|| format!("{kind:?} at {offset:#x}"))?;
        }
    }
    Ok(())
}

/// What a program writes is its own, be it before or after reading, also across fork.
pub(super) fn private_writes() -> Result<()> {
    for kind in ALL {
        for image in BOTH_WAYS {
            with_mount(kind, image, "dax", |root| {
                let file = File::open(root.join(BIG))?;
                let whole = fs::read(root.join(BIG))?;
                for is_read_first in [true, false] {
                    let mut map = Mapping::new(&file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
                    if is_read_first {
                        ensure!(map.bytes()[..whole.len()] == whole, "before writing");
                    }
                    for at in (0..whole.len()).step_by(3 * PAGE) {
                        map.bytes_mut()[at] = !whole[at];
                    }
                    let child = in_child(|| {
                        ensure!(map.bytes()[0] == !whole[0] && map.bytes()[1] == whole[1]);
                        Ok(())
                    })?;
                    ensure!(child.success(), "the child: {child}");
                    for (at, byte) in map.bytes()[..whole.len()].iter().enumerate() {
                        let expected = if at % (3 * PAGE) == 0 {
                            !whole[at]
                        } else {
                            whole[at]
                        };
                        ensure!(*byte == expected, "byte {at}");
                    }
                }
                let shared =
                    Mapping::new(&file, 0, whole.len(), ProtFlags::READ, MapFlags::SHARED)?;
                ensure!(shared.bytes()[..whole.len()] == whole, "shared");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// A static program, the guest's own.
pub(super) fn runs_a_program() -> Result<()> {
    for kind in ALL {
        with_mount(kind, PROGRAM.name, "dax", |root| {
            for _ in 0..3 {
                let status = programs::command(root, "end").status()?;
                ensure!(status.success(), "{status}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Files that share blocks are mapped at once, which fs/dax.c has one owner for.
pub(super) fn shared_blocks() -> Result<()> {
    for kind in ALL {
        for image in [zoo::CHUNKED.name, zoo::CHUNK_INDEXES.name] {
            with_mount(kind, image, "dax", |root| {
                let mut maps = Vec::new();
                for name in ["zeros/first", "zeros/odd", "zeros/only", BIG] {
                    let path = root.join(name);
                    let bytes = fs::read(&path)?;
                    let file = File::open(&path)?;
                    for flags in [MapFlags::SHARED, MapFlags::PRIVATE] {
                        let map = Mapping::new(&file, 0, bytes.len(), ProtFlags::READ, flags)?;
                        ensure!(map.bytes()[..bytes.len()] == bytes, "{name}");
                        maps.push(map);
                    }
                }
                fs::write("/proc/sys/vm/drop_caches", "3")?;
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// mkfs.erofs gives each flat file its own blocks, but nothing keeps an image from having two with
/// the same ones: the second one is copied, which fs/dax.c could not stand otherwise.
pub(super) fn flat_files_with_shared_blocks() -> Result<()> {
    const OTHER: &str = "sizes/8192";
    let image = zoo::PLAIN.name;
    let module = serve_initrd()?;
    let mount = mount(image, "dax")?;
    let first = lies_at(&mount.path().join(BIG))?;
    let inode = fs::symlink_metadata(mount.path().join(OTHER))?.ino();
    let mut bytes = bytes_of(image)?;
    mount.unmount()?;
    // `i_u` of the inode is the first block; `meta_blkaddr` of the superblock where inodes begin.
    let inodes = u32::from_le_bytes(bytes[1064..1068].try_into()?);
    let place = usize::try_from(u64::from(inodes) * 4096 + inode * 32 + 16)?;
    bytes[place..place + 4].copy_from_slice(&u32::try_from(first / 4096)?.to_le_bytes());

    let source = Kind::E820.with_bytes(&bytes, 0)?;
    let mount = mount_source(&source.node, "dax", "pmem")?;
    let mut maps = Vec::new();
    for (name, is_direct) in [(BIG, true), (OTHER, false), (BIG, true), (OTHER, false)] {
        let path = mount.path().join(name);
        let content = fs::read(&path)?;
        let map = Mapping::read_only(File::open(&path)?, content.len())?;
        ensure!(map.bytes()[..content.len()] == content, "{name}");
        ensure!(says_dax(&path)? == is_direct, "{name}");
        maps.push(map);
        fs::write("/proc/sys/vm/drop_caches", "3")?;
    }
    ensure!(maps[1].bytes() == &maps[0].bytes()[..8192], "not shared");
    drop(maps);
    mount.unmount()?;
    source.remove()?;
    unload(module)
}

/// Zeros up to the end of the last page, and nothing after it.
pub(super) fn beyond_the_end() -> Result<()> {
    for kind in ALL {
        for image in [zoo::INLINE.name, zoo::GARBAGE.name, zoo::CHUNKED.name] {
            with_mount(kind, image, "dax", |root| {
                let file = File::open(root.join(BIG))?;
                let len = usize::try_from(file.metadata()?.len())?;
                let map = Mapping::read_only(&file, len + 2 * PAGE)?;
                let last = len.next_multiple_of(PAGE);
                ensure!(map.bytes()[len..last].iter().all(|byte| *byte == 0));
                check_dies(signal::BUS, || map.touch(last))
            })?;
        }
    }
    Ok(())
}

/// Pages that somebody has pinned are waited for, since the driver below does not.
pub(super) fn pinned_pages() -> Result<()> {
    for kind in [Kind::E820, Kind::Fsdev] {
        for image in BOTH_WAYS {
            with_source(kind, image, 0, |source| {
                let mount = mount_source(&source.node, "dax", "pmem")?;
                let path = mount.path().join(BIG);
                let first = fs::read(&path)?[..PAGE].to_vec();
                let map = Mapping::read_only(File::open(&path)?, PAGE)?;
                let (reader, writer) = pipe()?;
                ensure!(splice_pages(writer.as_fd(), map.bytes())? == PAGE);
                drop((map, writer));
                let unmounting = thread::spawn(move || mount.unmount());
                thread::sleep(Duration::from_millis(500));
                ensure!(!unmounting.is_finished(), "unmounted with a pinned page");
                let mut bytes = Vec::new();
                File::from(reader).read_to_end(&mut bytes)?;
                ensure!(bytes == first, "the pipe has something else");
                let unmounted = unmounting.join();
                ensure!(matches!(unmounted, Ok(Ok(()))), "{unmounted:?}");
                Ok(())
            })
            .with_context(|| format!("{image} on {kind:?}"))?;
        }
    }
    Ok(())
}
