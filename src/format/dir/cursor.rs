// SPDX-License-Identifier: GPL-2.0

//! Listing directories.

use super::decoded::{Decoded, Window};
use super::{Block, Blocks, RawDirent, Stored, BAD_LENGTH, DIRENT_SIZE, NAME_MAX};
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
    /// The device that has the name, see [`Volume::device`].
    pub device: u16,
    /// Where on it the name starts.
    pub name_offset: u64,
    /// Length of the name: 1 to 255 bytes, all on the device.
    pub name_len: usize,
    /// The cookie of the entry.
    pub pos: u64,
    /// The cookie of what follows it.
    pub next: u64,
}

impl Record {
    /// The entry, its name in `buf`.
    #[inline]
    fn entry<'b, I: Image + ?Sized>(
        &self,
        image: &I,
        buf: &'b mut [u8; NAME_MAX],
    ) -> Result<Entry<'b>> {
        let name = buf.get_mut(..self.name_len).ok_or(BAD_LENGTH)?;
        image.read_at(self.name_offset, name)?;
        Ok(Entry {
            nid: self.nid,
            file_type: self.file_type,
            name,
            pos: self.pos,
            next: self.next,
        })
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
    /// Those of [`advance`](Cursor::advance), and those of [`Volume::read_compressed`].
    #[inline]
    pub fn next<'b, V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
        buf: &'b mut [u8; NAME_MAX],
    ) -> Result<Option<Entry<'b>>> {
        if dir.is_decoded(sb) {
            return self.next_decoded(volume, sb, dir, buf);
        }
        match self.advance(volume, sb, dir)? {
            Some(record) => record.entry(volume.device(record.device)?, buf).map(Some),
            None => Ok(self.omitted_dot(dir)),
        }
    }

    /// The same where the directory's data is compressed.
    #[inline(never)]
    fn next_decoded<'b, V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
        buf: &'b mut [u8; NAME_MAX],
    ) -> Result<Option<Entry<'b>>> {
        let blocks = Decoded::new(volume, sb, dir, self.window.take());
        let record = match self.ahead {
            Some(_) => Ok(()),
            None => self.seek(&blocks, sb, dir),
        }
        .and_then(|()| self.step(&blocks));
        let entry = match record? {
            Some(record) => record.entry(&blocks, buf).map(Some),
            None => Ok(self.omitted_dot(dir)),
        };
        self.window = blocks.into_window();
        entry
    }

    /// The next entry, without copying its name; `None` when there is no further dirent.
    /// [`omitted_dot`](Cursor::omitted_dot) comes after that. For directories whose data
    /// [has places](Inode::is_decoded) on devices only.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the dirent, its name or the head of its block contradicts the format,
    /// and the errors of [`Inode::extent_at`]. The cursor does not get past it.
    // Always inline: a record is handed over in registers then.
    #[inline(always)]
    pub fn advance<V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        sb: &SuperBlock,
        dir: &Inode,
    ) -> Result<Option<Record>> {
        if self.ahead.is_none() {
            self.seek(&Stored { volume, sb, dir }, sb, dir)?;
        }
        let Some(ahead) = &self.ahead else {
            return Ok(None);
        };
        let image = volume.device(ahead.block.device)?;
        self.step(image)
    }

    /// The entry of the dirent that was read ahead, if there is one; reads the next one of the block.
    #[inline(always)]
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
    fn seek<B: Blocks>(&mut self, blocks: &B, sb: &SuperBlock, dir: &Inode) -> Result<()> {
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
