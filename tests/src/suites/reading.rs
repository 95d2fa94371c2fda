// SPDX-License-Identifier: GPL-2.0

//! Reading without copies and around caches: O_DIRECT, splice, advice, mappings of chunks and
//! holes; and what is told of files beside their bytes.

use std::{
    fs::{self, File},
    io::{IoSliceMut, Read},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    calls::{extents, label, name_to_handle, open_by_handle, FileExtent, FileHandle},
    mapping::{Mapping, PAGE},
    memory::Memory,
};
use rustix::{
    fs::{
        fadvise, seek, sendfile, statx, Advice, AtFlags, OFlags, SeekFrom, StatxAttributes,
        StatxFlags, CWD,
    },
    io::{readv, Errno},
    pipe::{pipe, splice, SpliceFlags},
};

use crate::{
    erodax::with_each,
    expectation::{sha256, Entry},
    suites::{zoo, BIGGER},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "reading",
    machine: Machine {
        images: &[
            zoo::INLINE,
            zoo::SMALL_CHUNKS,
            zoo::FILTERED,
            zoo::CHUNKED,
            zoo::CHUNK_INDEXES,
        ],
        ..BIGGER
    },
    tests: tests![
        direct,
        spliced,
        sent,
        advised,
        mapped,
        holes,
        extents_of_a_part,
        handles,
        bad_handles,
        labels,
        attributes,
    ],
};

/// The images whose files can be mapped as they lie.
const DIRECT: [&str; 4] = [
    zoo::INLINE.name,
    zoo::FILTERED.name,
    zoo::CHUNKED.name,
    zoo::CHUNK_INDEXES.name,
];
const ALLOWED_KIB: u64 = 64;

/// Each regular file of each image, with its expected content's digest.
fn each_file(
    images: &[&str],
    options: &str,
    mut body: impl FnMut(&Path, &Entry, &str) -> Result<()>,
) -> Result<()> {
    with_each(images, options, |root, entries| {
        for entry in entries {
            if let Some(digest) = &entry.sha256 {
                body(&root.join(entry.path()), entry, digest)
                    .with_context(|| entry.path().display().to_string())?;
            }
        }
        Ok(())
    })
}

/// In every way of mapping, the small blocks only where they can be.
fn each_way(mut body: impl FnMut(&Path, &Entry, &str) -> Result<()>) -> Result<()> {
    each_file(&DIRECT, "dax", &mut body)?;
    each_file(&[zoo::SMALL_CHUNKS.name], "", &mut body)?;
    each_file(&[zoo::INLINE.name, zoo::CHUNKED.name], "dax=never", body)
}

/// Runs `body` under `-o dax` and checks that nothing of what it reads stays in the page cache.
fn uncached(mut body: impl FnMut(&Path, &Entry, &str) -> Result<()>) -> Result<()> {
    for image in DIRECT {
        let mut before = None;
        each_file(&[image], "dax", |path, entry, digest| {
            if before.is_none() {
                before = Some(Memory::now()?.cached);
            }
            body(path, entry, digest)
        })?;
        let grown = Memory::now()?
            .cached
            .saturating_sub(before.context("no files")?);
        ensure!(
            grown < ALLOWED_KIB,
            "{image}: the page cache has grown by {grown} KiB"
        );
    }
    Ok(())
}

/// Without any alignment of offset, length and memory.
fn direct() -> Result<()> {
    let direct = i32::try_from(OFlags::DIRECT.bits())?;
    each_way(|path, entry, digest| {
        let mut file = File::options().read(true).custom_flags(direct).open(path)?;
        let mut whole = Vec::new();
        file.read_to_end(&mut whole)?;
        ensure!(sha256(&whole) == *digest, "another content");
        ensure!(entry.size == Some(whole.len() as u64));
        let mut buffer = [0; 1001];
        for at in [0, 1, 511, 4095, whole.len().saturating_sub(3), whole.len()] {
            let read = file.read_at(&mut buffer[1..], at as u64)?;
            let expected = whole.get(at..).unwrap_or_default();
            ensure!(
                buffer[1..][..read] == expected[..expected.len().min(1000)],
                "at {at}"
            );
        }
        Ok(())
    })
}

/// Through a pipe, whole and from places in the middle of pages.
fn spliced() -> Result<()> {
    let check = |path: &Path, _: &Entry, digest: &str| -> Result<()> {
        let file = File::open(path)?;
        let whole = splice_from(&file, 0)?;
        ensure!(sha256(&whole) == *digest, "another content");
        for at in [1, 4095, 4097, 65_535, whole.len().saturating_sub(1)] {
            let expected = whole.get(at..).unwrap_or_default();
            ensure!(splice_from(&file, at)? == expected, "from {at} on");
        }
        Ok(())
    };
    uncached(check)?;
    each_file(&[zoo::SMALL_CHUNKS.name], "", check)?;
    each_file(&[zoo::CHUNKED.name], "dax=never", check)
}

fn splice_from(file: &File, at: usize) -> Result<Vec<u8>> {
    let (reader, writer) = pipe()?;
    let mut at = u64::try_from(at)?;
    let mut arrived = Vec::new();
    loop {
        let flags = SpliceFlags::empty();
        let spliced = splice(file, Some(&mut at), &writer, None, 50_001, flags)?;
        if spliced == 0 {
            return Ok(arrived);
        }
        let start = arrived.len();
        arrived.resize(start + spliced, 0);
        let mut filled = start;
        while filled < arrived.len() {
            let read = readv(&reader, &mut [IoSliceMut::new(&mut arrived[filled..])])?;
            ensure!(read > 0, "the pipe is empty");
            filled += read;
        }
    }
}

/// By sendfile(2), which needs no pipe of the caller's, from odd places.
fn sent() -> Result<()> {
    const COPY: &str = "/tmp/sent";
    uncached(|path, entry, digest| {
        let file = File::open(path)?;
        // What is written is in the page cache as long as it is there.
        let copy = |mut at: u64| -> Result<Vec<u8>> {
            let to = File::create(COPY)?;
            while sendfile(&to, &file, Some(&mut at), 70_001)? > 0 {}
            let bytes = fs::read(COPY)?;
            fs::remove_file(COPY)?;
            Ok(bytes)
        };
        let whole = copy(0)?;
        ensure!(sha256(&whole) == *digest, "another content");
        if entry.size.is_some_and(|size| size > 4096) {
            for at in [1, 4095, 4097] {
                ensure!(copy(at)? == whole[usize::try_from(at)?..], "from {at} on");
            }
        }
        Ok(())
    })
}

/// Advice is taken, and nothing is read ahead that nobody would look at.
fn advised() -> Result<()> {
    uncached(|path, _, digest| {
        let file = File::open(path)?;
        for advice in [
            Advice::WillNeed,
            Advice::Sequential,
            Advice::WillNeed,
            Advice::Random,
            Advice::NoReuse,
            Advice::DontNeed,
            Advice::Normal,
        ] {
            fadvise(&file, 0, None, advice).with_context(|| format!("{advice:?}"))?;
        }
        ensure!(sha256(&fs::read(path)?) == *digest, "another content");
        Ok(())
    })
}

/// Chunks, holes and tails, with zeros up to the end of the last page.
fn mapped() -> Result<()> {
    let check = |path: &Path, entry: &Entry, digest: &str| -> Result<()> {
        let size = usize::try_from(entry.size.context("no size")?)?;
        if size == 0 {
            return Ok(());
        }
        let map = Mapping::read_only(File::open(path)?, size)?;
        let (content, rest) = map.bytes().split_at(size);
        ensure!(sha256(content) == *digest, "another content");
        ensure!(rest.iter().all(|byte| *byte == 0), "bytes beyond the end");
        Ok(())
    };
    uncached(check)?;
    each_file(&[zoo::SMALL_CHUNKS.name], "", check)?;
    each_file(&[zoo::CHUNKED.name], "dax=never", check)
}

fn holes() -> Result<()> {
    with_each(&[zoo::CHUNKED.name], "dax", |root, _| {
        let only = File::open(root.join("zeros/only"))?;
        ensure!(seek(&only, SeekFrom::Hole(0)) == Ok(0));
        ensure!(seek(&only, SeekFrom::Data(0)) == Err(Errno::NXIO));
        ensure!(extents(&only, 0, u64::MAX)?.is_empty(), "extents of a hole");
        let striped = File::open(root.join("zeros/striped"))?;
        for stripe in 0..20 {
            let (data, hole) = (stripe * 16_384, stripe * 16_384 + 4096);
            for (from, expected) in [
                (SeekFrom::Data(data), data),
                (SeekFrom::Data(data + 7), data + 7),
                (SeekFrom::Hole(data), hole),
                (SeekFrom::Hole(hole + 7), hole + 7),
                (SeekFrom::Data(hole), data + 16_384),
            ] {
                let found = seek(&striped, from);
                ensure!(found == Ok(expected), "{from:?}: {found:?}");
            }
        }
        let size = striped.metadata()?.size();
        ensure!(seek(&striped, SeekFrom::Hole(size - 1)) == Ok(size));
        ensure!(seek(&striped, SeekFrom::Data(size)) == Err(Errno::NXIO));
        let map = Mapping::read_only(&only, 16 * PAGE)?;
        ensure!(
            map.bytes().iter().all(|byte| *byte == 0),
            "a hole shows bytes"
        );
        Ok(())
    })
}

/// Only a file's last extent is called so, and pieces begin anywhere (docs/differences.md).
fn extents_of_a_part() -> Result<()> {
    with_each(&[zoo::CHUNKED.name], "", |root, _| {
        let file = File::open(root.join("zeros/striped"))?;
        let all = extents(&file, 0, u64::MAX)?;
        ensure!(all.len() == 21, "{all:?}");
        let lasts = |extents: &[FileExtent]| {
            let last = |extent: &&FileExtent| extent.flags & FileExtent::LAST != 0;
            extents.iter().filter(last).count()
        };
        ensure!(lasts(&all) == 1 && lasts(&all[20..]) == 1, "{all:?}");
        let part = extents(&file, 0, 40_000)?;
        ensure!(part == all[..3], "{part:?}");
        // What is told begins where it was asked for, as in files without chunks.
        let (from, first) = (16_384 + 100, all[1]);
        let middle = extents(&file, from, 1)?;
        let [middle] = middle.as_slice() else {
            bail!("{middle:?}")
        };
        ensure!(
            middle.logical == from && middle.physical == first.physical + 100,
            "{middle:?}"
        );
        // A hole at the end does not change which one is the last.
        let ends = File::open(root.join("zeros/last"))?;
        let all = extents(&ends, 0, u64::MAX)?;
        ensure!(
            lasts(&all) == 1 && lasts(&all[all.len() - 1..]) == 1,
            "{all:?}"
        );
        Ok(())
    })
}

fn handles() -> Result<()> {
    with_each(
        &[zoo::INLINE.name, zoo::CHUNKED.name],
        "",
        |root, entries| {
            let within = File::open(root)?;
            let mut known: Vec<(PathBuf, FileHandle)> = Vec::new();
            for entry in entries.iter().filter(|entry| entry.rdev == (0, 0)) {
                let path = root.join(entry.path());
                if path.is_symlink() || fs::symlink_metadata(&path)?.mode() & 0o170_000 == 0o010_000
                {
                    continue;
                }
                known.push((path.clone(), name_to_handle(&path)?));
            }
            // Nothing is left in memory that a handle could lead to.
            Memory::settled()?;
            for (path, handle) in &known {
                let opened = File::from(open_by_handle(&within, handle)?);
                let metadata = fs::metadata(path)?;
                ensure!(
                    opened.metadata()?.ino() == metadata.ino(),
                    "{}: another file",
                    path.display()
                );
                ensure!(name_to_handle(path)? == *handle, "another handle");
                if metadata.is_dir() {
                    // With its parents, up to the root.
                    let named = fs::read_link(format!(
                        "/proc/self/fd/{}",
                        std::os::fd::AsRawFd::as_raw_fd(&opened)
                    ))?;
                    ensure!(named == *path, "{} for {}", named.display(), path.display());
                }
            }
            ensure!(known.len() > 1000, "only {} handles", known.len());
            Ok(())
        },
    )
}

/// What is no inode, or no handle of ours at all, is as good as a file that is gone.
fn bad_handles() -> Result<()> {
    const STALE: Option<Errno> = Some(Errno::STALE);
    with_each(&[zoo::INLINE.name], "", |root, _| {
        let within = File::open(root)?;
        let good = name_to_handle(&root.join("big"))?;
        ensure!(good.bytes >= 12, "{good:?}");
        let refused = |handle: &FileHandle| {
            let opened = open_by_handle(&within, handle).map(drop);
            opened.map_err(|error| Errno::from_io_error(&error))
        };
        let words = |high: u32, low: u32| {
            let mut handle = good.clone();
            handle.handle[..4].copy_from_slice(&high.to_ne_bytes());
            handle.handle[4..8].copy_from_slice(&low.to_ne_bytes());
            handle
        };
        for (high, low) in [
            (0, u32::MAX),
            (1, 0),
            (u32::MAX, u32::MAX),
            (0x8000_0000, 36),
            (0, 0x0800_0000),
        ] {
            let answer = refused(&words(high, low));
            ensure!(answer == Err(STALE), "{high:#x} {low:#x}: {answer:?}");
        }
        for kind in [1, 2, 0x7f, 0xff] {
            let answer = refused(&FileHandle {
                kind,
                ..good.clone()
            });
            ensure!(answer == Err(STALE), "kind {kind}: {answer:?}");
        }
        let answer = refused(&FileHandle {
            bytes: 8,
            ..good.clone()
        });
        ensure!(answer == Err(STALE), "too short: {answer:?}");
        ensure!(refused(&good) == Ok(()), "the good one");
        Ok(())
    })
}

fn labels() -> Result<()> {
    for (image, expected) in [(zoo::FILTERED.name, zoo::LABEL), (zoo::CHUNKED.name, "")] {
        with_each(&[image], "", |root, _| {
            for file in ["", "big", "xattrs"] {
                let label = label(File::open(root.join(file))?)?;
                ensure!(label == expected.as_bytes(), "{file}: {label:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// DAX is told of what is mapped as it lies, and direct reads need no alignment
/// (docs/differences.md).
fn attributes() -> Result<()> {
    for (image, options, is_direct) in [
        (zoo::INLINE.name, "dax", true),
        (zoo::CHUNKED.name, "", true),
        (zoo::INLINE.name, "dax=never", false),
        (zoo::SMALL_CHUNKS.name, "", false),
    ] {
        with_each(&[image], options, |root, _| {
            let wanted = StatxFlags::ALL | StatxFlags::DIOALIGN;
            let all = statx(CWD, root.join("big"), AtFlags::empty(), wanted)?;
            let told = all.stx_attributes;
            ensure!(told.contains(StatxAttributes::DAX) == is_direct, "{told:?}");
            ensure!(told.contains(StatxAttributes::IMMUTABLE), "{told:?}");
            ensure!(!told.contains(StatxAttributes::COMPRESSED), "{told:?}");
            let align = (all.stx_dio_mem_align, all.stx_dio_offset_align);
            ensure!(align == (1, 1), "{align:?}");
            Ok(())
        })?;
    }
    Ok(())
}
