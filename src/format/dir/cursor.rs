// SPDX-License-Identifier: GPL-2.0

//! Listing directories.

use super::decoded::{Decoded, Window};
use super::{Block, Blocks, RawDirent, Stored, BAD_LENGTH, DIRENT_SIZE, NAME_MAX};
use crate::contents::Contents;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Image, Result};

/// One entry of a directory, its name still where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The inode.
    pub nid: u64,
    /// What kind of file the dirent says the inode is (`FT_*`); see
    /// [`FileType::from_dirent`](crate::inode::FileType::from_dirent).
    pub file_type: u8,
    /// The device that has the name, see [`Volume::device`]; `None` if the directory
    /// [is decoded](Inode::is_decoded).
    pub device: Option<u16>,
    /// Where on the device the name starts; without a device, where in the directory's data.
    pub name_offset: u64,
    /// Length of the name: 1 to 255 bytes, all on the device, or before the directory's end.
    pub name_len: usize,
    /// The cookie of the entry.
    pub pos: u64,
    /// The cookie of what follows it.
    pub next: u64,
}

impl Record {
    /// Copies the name to the start of `buf` and returns that part of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the record is not one of this directory's; if the directory's data is
    /// compressed, those of [`Volume::read_compressed`].
    #[inline]
    pub fn read_name<'b, V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
        buf: &'b mut [u8; NAME_MAX],
    ) -> Result<&'b [u8]> {
        let name = buf.get_mut(..self.name_len).ok_or(BAD_LENGTH)?;
        match self.device {
            Some(device) => volume.device(device)?.read_at(self.name_offset, name)?,
            None => Contents::new(volume, sb, dir).read_at(self.name_offset, name)?,
        }
        Ok(name)
    }
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'b> {
    /// The inode.
    pub nid: u64,
    /// What kind of file the dirent says the inode is (`FT_*`); see
    /// [`FileType::from_dirent`](crate::inode::FileType::from_dirent).
    pub file_type: u8,
    /// The name: 1 to 255 bytes.
    pub name: &'b [u8],
    /// The cookie of the entry.
    pub pos: u64,
    /// The cookie of what follows it.
    pub next: u64,
}

/// A place in a directory that is being listed.
///
/// Its position, the cookie, is the byte offset of a dirent in the directory, as in Linux's
/// `erofs_readdir()`. It may be any number, as a seek can make it: one that is inside a dirent means
/// the next one, one that is behind a block's dirents means the next block, and one that is not
/// before the directory's end means the end. A "." that the directory omits is at the end, and has a
/// length of 1.
#[derive(Clone, Debug)]
pub struct Cursor {
    pos: u64,
    /// The dirent at `pos`, if it was read together with the one before it.
    ahead: Option<Ahead>,
    /// What was decoded last.
    window: Option<Window>,
}

/// A dirent that was read, and where.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    block: Block,
    /// Where in the block it is.
    offset: u64,
    dirent: RawDirent,
}

impl Cursor {
    /// A cursor at `pos`: 0, or a cookie, or anything.
    #[inline]
    pub fn new(pos: u64) -> Self {
        Cursor {
            pos,
            ahead: None,
            window: None,
        }
    }

    /// The cookie of the next entry.
    #[inline]
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// The next entry, its name in `buf`; `None` at the end of the directory.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Cursor::advance).
    #[inline]
    pub fn next<'b, V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
        buf: &'b mut [u8; NAME_MAX],
    ) -> Result<Option<Entry<'b>>> {
        let Some(record) = self.advance(volume, sb, dir)? else {
            return Ok(self.omitted_dot(dir));
        };
        Ok(Some(Entry {
            nid: record.nid,
            file_type: record.file_type,
            name: record.read_name(volume, sb, dir, buf)?,
            pos: record.pos,
            next: record.next,
        }))
    }

    /// The next entry, without copying its name; `None` when there is no further dirent.
    /// [`omitted_dot`](Cursor::omitted_dot) comes after that.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the dirent, its name or the head of its block contradicts the format,
    /// and the errors of [`Inode::extent_at`], or those of [`Volume::read_compressed`]. The cursor does not get past it.
    #[inline]
    pub fn advance<V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
    ) -> Result<Option<Record>> {
        if self.ahead.is_none() {
            self.seek(volume, sb, dir)?;
        }
        let Some(ahead) = &self.ahead else {
            return Ok(None);
        };
        match ahead.block.device {
            Some(device) => self.step(volume.device(device)?),
            None => self.step_decoded(volume, sb, dir),
        }
    }

    /// The entry of the dirent that was read ahead, if there is one; reads the next one of the block.
    #[inline]
    fn step<I: Image + ?Sized>(&mut self, image: &I) -> Result<Option<Record>> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(None);
        };
        let record;
        if let Some((offset, following)) = ahead.following(image)? {
            record = ahead.inner_record(self.pos, &following)?;
            (ahead.offset, ahead.dirent) = (offset, following);
        } else {
            record = ahead.last_record(self.pos, image)?;
            self.ahead = None;
        }
        self.pos = record.next;
        Ok(Some(record))
    }

    /// The same where the directory's data is compressed.
    #[inline(never)]
    fn step_decoded<V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
    ) -> Result<Option<Record>> {
        let blocks = Decoded::new(volume, sb, dir, self.window.take());
        let record = self.step(&blocks);
        self.window = blocks.into_window();
        record
    }

    /// The "." of a directory that omits it, if the cursor is at the directory's end; moves behind it.
    #[inline]
    pub fn omitted_dot(&mut self, dir: &Inode) -> Option<Entry<'static>> {
        /// `FT_DIR`.
        const DIRECTORY: u8 = 2;
        let pos = self.pos;
        if !dir.dot_omitted() || pos != dir.size {
            return None;
        }
        self.pos = pos.saturating_add(1);
        Some(Entry {
            nid: dir.nid,
            file_type: DIRECTORY,
            name: b".",
            pos,
            next: self.pos,
        })
    }

    /// Reads the dirent at or after `pos`, if there is one, and moves there.
    #[inline(never)]
    fn seek<V: Volume + ?Sized>(&mut self, volume: &V, sb: &SuperBlock, dir: &Inode) -> Result<()> {
        if !dir.is_decoded(sb) {
            return self.seek_in(&Stored { volume, sb, dir }, sb, dir);
        }
        let blocks = Decoded::new(volume, sb, dir, self.window.take());
        let result = self.seek_in(&blocks, sb, dir);
        self.window = blocks.into_window();
        result
    }

    #[inline]
    fn seek_in<B: Blocks>(&mut self, blocks: &B, sb: &SuperBlock, dir: &Inode) -> Result<()> {
        while self.pos < dir.size {
            let start = sb.round_down(self.pos);
            let (block, image) = blocks.open(start)?;
            let dirents = sb.offset_in_block(self.pos).div_ceil(DIRENT_SIZE);
            let offset = dirents.wrapping_mul(DIRENT_SIZE);
            if offset < block.names {
                let dirent = block.dirent(image, offset)?;
                self.pos = start.saturating_add(offset);
                self.ahead = Some(Ahead {
                    block,
                    offset,
                    dirent,
                });
                break;
            }
            self.pos = start.saturating_add(block.len);
        }
        Ok(())
    }
}

impl Ahead {
    /// The dirent behind this one in the same block, and where in the block it is.
    #[inline]
    fn following<I: Image + ?Sized>(&self, image: &I) -> Result<Option<(u64, RawDirent)>> {
        let offset = self.offset.wrapping_add(DIRENT_SIZE);
        if offset >= self.block.names {
            return Ok(None);
        }
        Ok(Some((offset, self.block.dirent(image, offset)?)))
    }

    /// The entry of this dirent, at `pos` in the directory, whose name ends where that of the
    /// following one starts.
    #[inline]
    fn inner_record(&self, pos: u64, following: &RawDirent) -> Result<Record> {
        let nameoff = u64::from(self.dirent.nameoff);
        let end = u64::from(following.nameoff);
        let name = self.block.inner_name(nameoff, end)?;
        let next = pos.saturating_add(DIRENT_SIZE);
        Ok(self.record(pos, name.start, name.len, next))
    }

    /// The entry of this dirent, at `pos` in the directory, the last one in its block.
    #[inline(never)]
    fn last_record<I: Image + ?Sized>(&self, pos: u64, image: &I) -> Result<Record> {
        let name = self.block.last_name(u64::from(self.dirent.nameoff))?;
        let rest = self.block.len.saturating_sub(self.offset);
        let next = pos.saturating_add(rest);
        Ok(self.record(pos, name.start, name.measure(image)?, next))
    }

    #[inline]
    fn record(&self, pos: u64, name_offset: u64, name_len: usize, next: u64) -> Record {
        Record {
            nid: self.dirent.nid.get(),
            file_type: self.dirent.file_type,
            device: self.block.device,
            name_offset,
            name_len,
            pos,
            next,
        }
    }
}
