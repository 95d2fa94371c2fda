// SPDX-License-Identifier: GPL-2.0

//! What an image has in its blocks, as far as the files' data is concerned.
//!
//! Data can be moved if nothing but one inode says where it is, and nothing else is in its blocks. So
//! everything that a driver could read is read, and what was read is in nobody's way; what nobody
//! reads, such as blocks between the others, stays where it is as well.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use erodax_format::dir::{Cursor, NAME_MAX};
use erodax_format::flat::Extent;
use erodax_format::inode::{FileType, Inode, Layout};
use erodax_format::pcluster::{self, Data, Encoded, Place};
use erodax_format::superblock::SuperBlock;
use erodax_format::xattr::{self, Prefix, Prefixes, Xattrs};
use erodax_format::{Error, Image, Result};

use super::obstacle::Obstacle;
use super::recorder::Recorder;

/// A regular file.
pub(crate) struct File {
    pub(crate) inode: Inode,
    /// One of its names, from the root on.
    pub(crate) path: PathBuf,
    /// The blocks that have its data, without an inline tail, or why that cannot be moved.
    pub(crate) data: std::result::Result<Range<u64>, Obstacle>,
}

/// Reads all that the image has, and lists its regular files. From block `room` on, flat addresses mean
/// other devices.
///
/// # Errors
///
/// Those of the decoders: what cannot be read could be anywhere.
pub(crate) fn survey<I: Image>(image: &I, sb: &SuperBlock, room: u64) -> Result<Vec<File>> {
    let recorder = Recorder::new(image, u64::from(sb.block_size()));
    // Once more, so that what belongs to it is recorded.
    SuperBlock::read(&recorder)?;
    let walk = Walk {
        image: &recorder,
        sb,
        room,
        prefixes: Prefixes::new(&recorder, sb).collect::<Result<_>>()?,
    };
    for special in sb.metabox().ok().into_iter().chain(sb.packed()) {
        walk.mark_data(special)?;
    }
    let mut files = walk.files()?;
    find_shared(&mut files, &recorder);
    Ok(files)
}

/// Finds data whose blocks something else has, too.
fn find_shared<I: Image>(files: &mut [File], recorder: &Recorder<'_, I>) {
    let mut order: Vec<_> = (0..files.len())
        .filter_map(|index| Some((files[index].data.clone().ok()?, index)))
        .collect();
    order.sort_by_key(|(range, _)| range.start);
    let mut shared = HashSet::new();
    // What reaches furthest among those before.
    let mut furthest: Option<(u64, usize)> = None;
    for (range, index) in order {
        if let Some((end, other)) = furthest {
            if range.start < end {
                shared.extend([index, other]);
            }
        }
        if recorder.blocks().intersects(&range) {
            shared.insert(index);
        }
        if furthest.is_none_or(|(end, _)| end < range.end) {
            furthest = Some((range.end, index));
        }
    }
    for index in shared {
        files[index].data = Err(Obstacle::Shared);
    }
}

struct Walk<'a, I> {
    image: &'a Recorder<'a, I>,
    sb: &'a SuperBlock,
    room: u64,
    prefixes: Vec<Prefix>,
}

impl<I: Image> Walk<'_, I> {
    /// Every file, each once.
    fn files(&self) -> Result<Vec<File>> {
        let mut files = Vec::new();
        let mut seen = HashSet::from([self.sb.root_nid()]);
        let mut unread = vec![(self.sb.root_nid(), PathBuf::from("/"))];
        while let Some((nid, path)) = unread.pop() {
            let inode = Inode::read(self.image, self.sb, nid)?;
            self.read_xattrs(&inode)?;
            if inode.file_type() == FileType::Directory {
                for (nid, path) in self.entries(&inode, &path)? {
                    if seen.insert(nid) {
                        unread.push((nid, path));
                    }
                }
            }
            if inode.file_type() == FileType::Regular {
                let data = self.file_data(&inode)?;
                files.push(File { inode, path, data });
            } else {
                self.mark_data(&inode)?;
            }
        }
        Ok(files)
    }

    /// The nids and paths of what is in a directory; `path` is its own.
    fn entries(&self, dir: &Inode, path: &Path) -> Result<Vec<(u64, PathBuf)>> {
        let mut entries = Vec::new();
        let mut cursor = Cursor::new(0);
        let mut name = [0; NAME_MAX];
        while let Some(entry) = cursor.next(self.image, self.sb, dir, &mut name)? {
            entries.push((entry.nid, path.join(OsStr::from_bytes(entry.name))));
        }
        Ok(entries)
    }

    fn read_xattrs(&self, inode: &Inode) -> Result<()> {
        let xattrs = Xattrs::new(self.image, self.sb, &self.prefixes);
        let mut list = xattrs.list(inode)?;
        let mut name = [0; xattr::NAME_MAX];
        while let Some(entry) = list.next(&xattrs)? {
            xattrs.copy_name(&entry, &mut name)?;
            xattrs.copy_value(&entry, &mut vec![0; entry.value_len])?;
        }
        Ok(())
    }

    /// Where the data of a regular file is. What of it cannot be moved is recorded.
    fn file_data(&self, inode: &Inode) -> Result<std::result::Result<Range<u64>, Obstacle>> {
        let obstacle = match inode.layout {
            Layout::FlatPlain | Layout::FlatInline => match self.run(inode)? {
                Ok(run) => return Ok(Ok(run)),
                Err(obstacle) => obstacle,
            },
            Layout::ChunkBased => Obstacle::Chunks,
            Layout::CompressedFull | Layout::CompressedCompact => Obstacle::Compressed,
        };
        self.mark_data(inode)?;
        Ok(Err(obstacle))
    }

    /// The blocks of flat data.
    fn run(&self, inode: &Inode) -> Result<std::result::Result<Range<u64>, Obstacle>> {
        let tail = inode.inline_tail(self.sb)?;
        if let Some(tail) = tail {
            self.mark_extents(inode, tail.pos)?;
        }
        let size = tail.map_or(inode.size, |tail| tail.pos);
        if size == 0 {
            return Ok(Err(Obstacle::NoBlocks));
        }
        let Extent::Data { offset, .. } = inode.extent_at(self.image, self.sb, 0)? else {
            return Ok(Err(Obstacle::NoBlocks));
        };
        let block_size = u64::from(self.sb.block_size());
        let start = offset / block_size;
        let run = start..start.saturating_add(size.div_ceil(block_size));
        if run.end > self.room {
            return Ok(Err(Obstacle::OtherDevice));
        }
        match run.end <= self.sb.blocks() {
            true => Ok(Ok(run)),
            false => Err(Error::OutOfBounds),
        }
    }

    /// Records where an inode's data is.
    fn mark_data(&self, inode: &Inode) -> Result<()> {
        let has_data = matches!(
            inode.file_type(),
            FileType::Regular | FileType::Directory | FileType::Symlink
        );
        match has_data {
            true if inode.layout.is_compressed() => self.mark_pclusters(inode),
            true => self.mark_extents(inode, 0),
            false => Ok(()),
        }
    }

    fn mark_extents(&self, inode: &Inode, from: u64) -> Result<()> {
        let mut pos = from;
        while pos < inode.size {
            let extent = inode.extent_at(self.image, self.sb, pos)?;
            if let Extent::Data { offset, len, .. } = extent {
                self.image.mark(offset, len);
            }
            let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
            pos = pos.saturating_add(len);
        }
        Ok(())
    }

    fn mark_pclusters(&self, inode: &Inode) -> Result<()> {
        if inode.size == 0 {
            return Ok(());
        }
        let header = inode.map_header(self.image, self.sb)?;
        let mut cursor = pcluster::Cursor::default();
        let mut pos = 0;
        while pos < inode.size {
            let found = inode.pcluster_at(self.image, self.sb, &header, &mut cursor, pos)?;
            if let Data::Encoded(Encoded {
                place: Place::Device { offset, .. },
                len,
                ..
            }) = found.data
            {
                self.image.mark(offset, u64::from(len));
            }
            // A pcluster ends behind the byte that was asked for.
            pos = found
                .start
                .saturating_add(found.len)
                .max(pos.saturating_add(1));
        }
        Ok(())
    }
}
