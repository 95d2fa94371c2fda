// SPDX-License-Identifier: GPL-2.0

//! Every file of the generated tree: attributes, contents, links, and that none can be changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    os::unix::fs::{symlink, FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{mapping::Mapping, memory::Memory};
use rustix::{
    fs::{
        chmodat, ioctl_getflags, linkat, lstat, major, minor, mkdirat, open, readlink, renameat,
        sendfile, statfs, statvfs, utimensat, AtFlags, Dir, FileType, Mode, OFlags,
        StatVfsMountFlags, Timestamps, CWD,
    },
    io::Errno,
};

use crate::{
    erodax::{mount_refused, serve_initrd, unload, with_each, Device, GOOD},
    expectation::{sha256, Entry},
    suites::zoo,
    tests, Suite,
};

/// With every option, the small blocks only where they can be mounted.
const OPTIONS: [&str; 3] = ["dax", "", "dax=never"];

pub(super) static SUITE: Suite = Suite {
    name: "files",
    machine: zoo::MACHINE,
    tests: tests![
        nothing_missing_nothing_more,
        attributes,
        hard_links_are_one_file,
        contents_whole,
        contents_in_odd_pieces,
        contents_mapped,
        contents_by_sendfile,
        read_beyond_the_end,
        symbolic_links,
        socket,
        statistics_of_the_filesystem,
        nothing_can_be_changed,
        small_blocks,
        small_blocks_cannot_be_mapped,
        reading_fills_no_page_cache,
    ],
};

fn each(body: impl FnMut(&Path, &[Entry]) -> Result<()>) -> Result<()> {
    with_each(&zoo::NAMES, "dax", body)
}

fn each_way(mut body: impl FnMut(&Path, &[Entry]) -> Result<()>) -> Result<()> {
    OPTIONS
        .iter()
        .try_for_each(|options| with_each(&zoo::NAMES, options, &mut body))
}

/// The regular files, with where they are.
fn regular<'e>(root: &Path, entries: &'e [Entry]) -> Vec<(PathBuf, &'e Entry)> {
    let is_regular = |entry: &&Entry| entry.sha256.is_some();
    entries
        .iter()
        .filter(is_regular)
        .map(|entry| (root.join(entry.path()), entry))
        .collect()
}

fn nothing_missing_nothing_more() -> Result<()> {
    fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            ensure!(
                found.insert(entry.path()),
                "{} is listed twice",
                entry.path().display()
            );
            if entry.file_type()?.is_dir() {
                walk(&entry.path(), found)?;
            }
        }
        Ok(())
    }
    each(|root, entries| {
        let mut found = BTreeSet::from([root.to_owned()]);
        walk(root, &mut found)?;
        let expected: BTreeSet<PathBuf> = entries
            .iter()
            .map(|entry| root.join(entry.path()))
            .collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        let more: Vec<_> = found.difference(&expected).collect();
        ensure!(
            missing.is_empty() && more.is_empty(),
            "missing {missing:?}, more {more:?}"
        );
        Ok(())
    })
}

fn attributes() -> Result<()> {
    each(|root, entries| {
        for entry in entries {
            check_attributes(&root.join(entry.path()), entry)
                .with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    })
}

/// What a file's owners, permissions and size are.
pub(super) fn check_owner_and_size(path: &Path, entry: &Entry) -> Result<()> {
    let stat = lstat(path)?;
    ensure!(
        stat.st_mode == entry.mode,
        "mode {:o}, not {:o}",
        stat.st_mode,
        entry.mode
    );
    ensure!(
        (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid),
        "owner {}:{}",
        stat.st_uid,
        stat.st_gid
    );
    if let Some(size) = entry.size {
        ensure!(
            u64::try_from(stat.st_size)? == size,
            "{} bytes, not {size}",
            stat.st_size
        );
    }
    Ok(())
}

fn check_attributes(path: &Path, entry: &Entry) -> Result<()> {
    check_owner_and_size(path, entry)?;
    let stat = lstat(path)?;
    ensure!(
        stat.st_nlink == entry.nlink,
        "{} links, not {}",
        stat.st_nlink,
        entry.nlink
    );
    let is_device = matches!(
        FileType::from_raw_mode(stat.st_mode),
        FileType::CharacterDevice | FileType::BlockDevice
    );
    let device = if is_device {
        (major(stat.st_rdev), minor(stat.st_rdev))
    } else {
        (0, 0)
    };
    ensure!(
        device == entry.rdev,
        "device {device:?}, not {:?}",
        entry.rdev
    );
    let times = [
        (stat.st_mtime, stat.st_mtime_nsec),
        (stat.st_ctime, stat.st_ctime_nsec),
        (stat.st_atime, stat.st_atime_nsec),
    ];
    // There is one time only in the format.
    for (seconds, nanoseconds) in times {
        ensure!(
            seconds == entry.mtime,
            "time {seconds}, not {}",
            entry.mtime
        );
        ensure!(
            nanoseconds == u64::from(entry.mtime_nsec),
            "{nanoseconds} nanoseconds"
        );
    }
    Ok(())
}

fn hard_links_are_one_file() -> Result<()> {
    each(|root, entries| {
        let mut numbers = BTreeMap::new();
        for entry in entries {
            let number = lstat(root.join(entry.path()))?.st_ino;
            match &entry.same_as {
                Some(first) => {
                    ensure!(
                        numbers.get(&number) == Some(&first),
                        "{} is another file",
                        entry.path().display()
                    );
                }
                None => {
                    let other = numbers.insert(number, &entry.path);
                    ensure!(
                        other.is_none(),
                        "{} has a number that is taken",
                        entry.path().display()
                    );
                }
            }
        }
        Ok(())
    })
}

fn contents_whole() -> Result<()> {
    each_way(check_contents)
}

pub(super) fn check_contents(root: &Path, entries: &[Entry]) -> Result<()> {
    for (path, entry) in regular(root, entries) {
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        ensure!(
            Some(sha256(&bytes)) == entry.sha256,
            "{} has another content",
            path.display()
        );
    }
    Ok(())
}

/// Pieces that begin and end anywhere, against the whole.
fn contents_in_odd_pieces() -> Result<()> {
    each_way(|root, entries| {
        for (path, _) in regular(root, entries) {
            let whole = fs::read(&path)?;
            let file = File::open(&path)?;
            for piece in [1, 7, 511, 4095, 4097, 65_521] {
                check_pieces(&file, &whole, piece).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    })
}

fn check_pieces(file: &File, whole: &[u8], piece: usize) -> Result<()> {
    /// So many from the start of a file, and as many up to its end.
    const PIECES: usize = 40;
    let all: Vec<usize> = (0..whole.len()).step_by(piece).collect();
    let first = all.iter().take(PIECES);
    let last = all
        .iter()
        .skip(PIECES.max(all.len().saturating_sub(PIECES)));
    let mut buffer = vec![0; piece];
    for &at in first.chain(last) {
        let expected = &whole[at..whole.len().min(at + piece)];
        let read = file.read_at(&mut buffer, at as u64)?;
        ensure!(&buffer[..read] == expected, "{piece} bytes at {at}");
    }
    Ok(())
}

fn contents_mapped() -> Result<()> {
    each_way(|root, entries| {
        for (path, entry) in regular(root, entries) {
            let file = File::open(&path)?;
            let size = usize::try_from(entry.size.context("no size")?)?;
            if size == 0 {
                continue;
            }
            let map = Mapping::read_only(&file, size)?;
            let (content, tail) = map.bytes().split_at(size);
            ensure!(
                Some(sha256(content)) == entry.sha256,
                "{} is mapped wrong",
                path.display()
            );
            ensure!(
                tail.iter().all(|byte| *byte == 0),
                "{}: bytes beyond the end",
                path.display()
            );
        }
        Ok(())
    })
}

fn contents_by_sendfile() -> Result<()> {
    const COPY: &str = "/tmp/copy";
    let check = |root: &Path, entries: &[Entry]| -> Result<()> {
        for (path, entry) in regular(root, entries) {
            let from = File::open(&path)?;
            let to = File::create(COPY)?;
            while sendfile(&to, &from, None, 1 << 20)? > 0 {}
            let arrived = sha256(&fs::read(COPY)?);
            ensure!(
                Some(arrived) == entry.sha256,
                "{} arrives changed",
                path.display()
            );
        }
        Ok(())
    };
    with_each(&[zoo::INLINE.name, zoo::PLAIN.name], "dax", check)?;
    with_each(&[zoo::INLINE.name], "dax=never", check)?;
    Ok(fs::remove_file(COPY)?)
}

fn read_beyond_the_end() -> Result<()> {
    each(|root, entries| {
        for (path, entry) in regular(root, entries) {
            let file = File::open(&path)?;
            let size = entry.size.context("no size")?;
            for at in [size, size + 1, size + 4096, 1 << 40, i64::MAX as u64 - 16] {
                ensure!(
                    file.read_at(&mut [0; 16], at)? == 0,
                    "{} has bytes at {at}",
                    path.display()
                );
            }
        }
        Ok(())
    })
}

fn symbolic_links() -> Result<()> {
    each(|root, entries| {
        let links = entries
            .iter()
            .filter_map(|entry| Some((entry, entry.target.as_ref()?)));
        let mut count = 0;
        for (entry, target) in links {
            let read = readlink(root.join(entry.path()), [])?;
            ensure!(
                read.as_bytes() == target,
                "{} leads to {read:?}",
                entry.path().display()
            );
            count += 1;
        }
        ensure!(count > 3, "only {count} links");
        let through = fs::read(root.join("links/to-a-file"))?;
        ensure!(
            through == fs::read(root.join("sizes/4097"))?,
            "the link leads elsewhere"
        );
        Ok(())
    })
}

fn socket() -> Result<()> {
    let module = serve_initrd()?;
    let mount = crate::erodax::mount(GOOD, "dax")?;
    let stat = lstat(mount.path().join("socket"))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    ensure!(kind == FileType::Socket, "mode {:o}", stat.st_mode);
    // std's directory entries would ask lstat where the listing does not say.
    let mut entries = Dir::new(File::open(mount.path())?)?;
    let listed = entries.find_map(|entry| {
        let entry = entry.ok()?;
        (entry.file_name() == c"socket").then(|| entry.file_type())
    });
    drop(entries);
    ensure!(listed == Some(FileType::Socket), "listed as {listed:?}");
    mount.unmount()?;
    unload(module)
}

fn statistics_of_the_filesystem() -> Result<()> {
    each(|root, entries| {
        let (stat, vfs) = (statfs(root)?, statvfs(root)?);
        ensure!(stat.f_type == 0xE0F5_E1E2, "type {:x}", stat.f_type);
        ensure!(stat.f_bsize == 4096 && stat.f_namelen == 255, "{stat:?}");
        ensure!(stat.f_bfree == 0 && stat.f_bavail == 0, "{stat:?}");
        let name = root
            .file_name()
            .and_then(|name| name.to_str())
            .context("no name")?;
        let device = Device::of(name)?;
        ensure!(
            stat.f_blocks * 4096 <= device.size,
            "more blocks than the image has"
        );
        let files = entries
            .iter()
            .filter(|entry| entry.same_as.is_none())
            .count();
        ensure!(
            vfs.f_files.wrapping_sub(vfs.f_ffree) == files as u64,
            "{} files used, not {files}",
            vfs.f_files.wrapping_sub(vfs.f_ffree)
        );
        ensure!(
            vfs.f_flag.contains(StatVfsMountFlags::RDONLY),
            "not shown as read-only"
        );
        ensure!(vfs.f_fsid != 0, "no filesystem id");
        Ok(())
    })
}

fn nothing_can_be_changed() -> Result<()> {
    each(|root, _| {
        let file = root.join("sizes/4097");
        let before = (fs::read(&file)?, fs::metadata(&file)?.mtime());
        let absent = root.join("sizes/new");
        let times = Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            },
        };
        let mode = Mode::from_raw_mode(0o600);
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let attempts = [
            (
                "open for writing",
                open(&file, OFlags::WRONLY, Mode::empty()).map(drop),
            ),
            (
                "truncate",
                OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&file)
                    .map(drop)
                    .map_err(errno),
            ),
            (
                "create",
                open(&absent, OFlags::CREATE | OFlags::WRONLY, mode).map(drop),
            ),
            ("mkdir", mkdirat(CWD, &absent, mode)),
            ("symlink", symlink("x", &absent).map_err(errno)),
            ("link", linkat(CWD, &file, CWD, &absent, AtFlags::empty())),
            ("rename", renameat(CWD, &file, CWD, &absent)),
            ("unlink", fs::remove_file(&file).map_err(errno)),
            ("rmdir", fs::remove_dir(root.join("sizes")).map_err(errno)),
            ("chmod", chmodat(CWD, &file, mode, AtFlags::empty())),
            ("utimens", utimensat(CWD, &file, &times, AtFlags::empty())),
        ];
        for (what, result) in attempts {
            ensure!(result == Err(Errno::ROFS), "{what}: {result:?}");
        }
        // Whatever it is answered, it must not do anything.
        let _ = ioctl_getflags(File::open(&file)?);
        ensure!(
            (fs::read(&file)?, fs::metadata(&file)?.mtime()) == before,
            "something changed"
        );
        Ok(())
    })
}

fn small_blocks() -> Result<()> {
    for options in ["", "dax=never"] {
        with_each(&[zoo::SMALL_BLOCKS.name], options, |root, entries| {
            check_contents(root, entries)?;
            for entry in entries {
                check_attributes(&root.join(entry.path()), entry)
                    .with_context(|| entry.path().display().to_string())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn small_blocks_cannot_be_mapped() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(zoo::SMALL_BLOCKS.name)?.node;
    mount_refused(&node, "dax", Errno::INVAL, &["512", "-b4096"])?;
    unload(module)
}

/// Data and metadata are where they are; nothing is worth a copy.
fn reading_fills_no_page_cache() -> Result<()> {
    const ALLOWED_KIB: u64 = 64;
    each(|root, entries| {
        let before = Memory::now()?.cached;
        check_contents(root, entries)?;
        for entry in entries {
            lstat(root.join(entry.path()))?;
        }
        let grown = Memory::now()?.cached.saturating_sub(before);
        ensure!(
            grown < ALLOWED_KIB,
            "the page cache has grown by {grown} KiB"
        );
        Ok(())
    })
}
