// SPDX-License-Identifier: GPL-2.0

//! Pages of mappings that others hold: disks, pipes and rings, also when the mapping is gone.

use std::{
    fs::{self, File},
    io::Read,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
    module,
    ring::FixedBuffer,
    system::splice_pages,
};
use rustix::{
    fs::OFlags,
    io::Errno,
    pipe::{fcntl_setpipe_size, pipe},
};

use super::{check_file, each_big, each_big_and_options, BIG, WRITABLE};
use crate::{
    kinds::{Kind, Memory},
    suites::zoo,
};

/// A RAM disk.
const DISK: &str = "/dev/ram0";

/// Opens the disk so that it reads and writes memory without a copy in between.
fn disk() -> Result<File> {
    Ok(File::options()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(OFlags::DIRECT.bits())?)
        .open(DISK)?)
}

/// A disk that reads straight from the image's pages, without a copy in between.
pub(super) fn direct_io_from_a_mapping<K: Kind>() -> Result<()> {
    let brd = module::load("brd")?;
    each_big::<K>(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        let whole_pages = whole.len() / PAGE * PAGE;
        disk()?
            .write_all_at(&map.bytes()[..whole_pages], 0)
            .context("O_DIRECT write")?;
        let mut back = vec![0; whole_pages];
        File::open(DISK)?.read_exact_at(&mut back, 0)?;
        ensure!(back == whole[..whole_pages], "the disk has something else");
        Ok(())
    })?;
    drop(brd);
    Ok(())
}

/// Bytes that a disk writes into a private mapping are not the file's.
pub(super) fn direct_io_into_a_mapping<K: Kind>() -> Result<()> {
    const PAGES: Range<usize> = 3 * PAGE..20 * PAGE;
    let brd = module::load("brd")?;
    File::create(DISK)?.write_all_at(&[0x5a; 20 * PAGE], 0)?;
    each_big::<K>(|file, whole| {
        for is_read_before in [false, true] {
            let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
            if is_read_before {
                ensure!(&map.bytes()[..whole.len()] == whole);
            }
            disk()?
                .read_exact_at(&mut map.bytes_mut()[PAGES], 0)
                .context("O_DIRECT read")?;
            ensure!(map.bytes()[..PAGES.start] == whole[..PAGES.start], "before");
            ensure!(
                map.bytes()[PAGES].iter().all(|byte| *byte == 0x5a),
                "inside"
            );
            ensure!(
                map.bytes()[PAGES.end..whole.len()] == whole[PAGES.end..],
                "after"
            );
        }
        check_file(file, whole)
    })?;
    drop(brd);
    Ok(())
}

pub(super) fn spliced_from_a_mapping<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
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

/// What io_uring pins stays as it was written, whatever becomes of the mapping; pages that it
/// could write to behind the file's back it does not get.
pub(super) fn fixed_buffers<K: Kind>() -> Result<()> {
    const BUFFER: usize = 16 * PAGE;
    each_big_and_options::<K>(|file, whole, options| {
        let refused = if K::makes_dax_files(options) {
            Errno::OPNOTSUPP
        } else {
            Errno::FAULT
        };
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let mut pages = Mapping::new(file, 0, BUFFER, ProtFlags::READ, flags)?;
            check_not_pinned(&mut pages, refused).with_context(|| format!("{flags:?}"))?;
        }
        let mut pages = Mapping::new(file, 0, BUFFER, WRITABLE, MapFlags::PRIVATE)?;
        pages.bytes_mut()[5 * PAGE] = !whole[5 * PAGE];
        if K::makes_dax_files(options) {
            return check_not_pinned(&mut pages, refused);
        }
        let mut pinned = FixedBuffer::pin(&mut pages).context("pinning")?;
        drop(pages);
        ensure!(written_by(&mut pinned, 0..5 * PAGE)? == whole[..5 * PAGE]);
        let rest = written_by(&mut pinned, 5 * PAGE..BUFFER)?;
        ensure!(rest[0] == !whole[5 * PAGE], "what was written is lost");
        ensure!(rest[1..] == whole[5 * PAGE + 1..BUFFER]);
        check_file(file, whole)
    })
}

fn check_not_pinned(pages: &mut Mapping, expected: Errno) -> Result<()> {
    let refused = FixedBuffer::pin(pages).map(drop);
    let code = refused.as_ref().map_err(Errno::from_io_error);
    ensure!(code == Err(Some(expected)), "{refused:?}");
    Ok(())
}

fn written_by(pinned: &mut FixedBuffer, range: Range<usize>) -> Result<Vec<u8>> {
    const COPY: &str = "/tmp/copy";
    let expected = range.len();
    let written = pinned.write_to(File::create(COPY)?, range, 0)?;
    ensure!(written == expected, "{written} of {expected} bytes");
    let bytes = fs::read(COPY)?;
    fs::remove_file(COPY)?;
    Ok(bytes)
}

/// Rings and pipes hold pages while the mount is gone from the tree, and then the mapping.
pub(super) fn held_after_unmounting<K: Kind>() -> Result<()> {
    const PART: usize = 16 * PAGE;
    for options in super::OPTIONS {
        let kind = K::serve()?;
        let mount = kind.mount(zoo::PLAIN.name, options)?;
        let file = File::open(mount.path().join(BIG))?;
        let whole = super::content(&file)?;
        let mut written = Mapping::new(&file, 0, PART, WRITABLE, MapFlags::PRIVATE)?;
        written.bytes_mut()[PAGE] = !whole[PAGE];
        let read = Mapping::new(&file, 0, whole.len(), ProtFlags::READ, MapFlags::SHARED)?;
        let mut ring = if K::makes_dax_files(options) {
            None
        } else {
            Some(FixedBuffer::pin(&mut written)?)
        };
        let (reader, writer) = pipe()?;
        fcntl_setpipe_size(&writer, PART)?;
        ensure!(splice_pages(&writer, &read.bytes()[..PART])? == PART);
        drop(file);
        mount.detach().context("umount --lazy")?;
        // The mapping keeps the filesystem, of which pages not seen so far are still to be had.
        ensure!(read.bytes()[..whole.len()] == whole, "after umount --lazy");
        // What is waited for must be given back first.
        let waiting = if K::MEMORY == Memory::Ram {
            drop((read, written));
            kind.end().context("the filesystem is still there")?;
            None
        } else {
            Some((read, written, kind))
        };
        let mut piped = Vec::new();
        drop(writer);
        File::from(reader).read_to_end(&mut piped)?;
        ensure!(
            piped == whole[..PART],
            "something else comes out of the pipe"
        );
        if let Some(ring) = &mut ring {
            let ringed = written_by(ring, 0..PART)?;
            ensure!(ringed[..PAGE] == whole[..PAGE] && ringed[PAGE] == !whole[PAGE]);
            ensure!(ringed[PAGE + 1..] == whole[PAGE + 1..PART]);
        }
        if let Some((read, written, kind)) = waiting {
            drop((read, written, ring));
            kind.end().context("the filesystem is still there")?;
        }
    }
    Ok(())
}
