// SPDX-License-Identifier: GPL-2.0

//! Inodes: `struct erofs_inode_compact` (32 bytes) and `struct erofs_inode_extended` (64 bytes).

use crate::chunk;
use crate::contents::Contents;
use crate::superblock::{self, SuperBlock};
use crate::volume::Volume;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// `i_format`: the inode is an extended one.
const FORMAT_EXTENDED: u16 = 1 << 0;
/// `i_format`: log2 of the lowest of the three bits of the layout.
const FORMAT_LAYOUT_SHIFT: u16 = 1;
const FORMAT_LAYOUT_MASK: u16 = 7;
/// `i_format` of a compact inode that is no directory: it has one link, and `i_nb` extends `i_u`.
const FORMAT_NLINK_1: u16 = 1 << 4;
/// `i_format` of a directory: it has no dirent for ".".
const FORMAT_DOT_OMITTED: u16 = 1 << 4;
/// Every bit of `i_format` that the format defines.
const FORMAT_ALL: u16 = (1 << 5) - 1;

/// The bits of `i_mode` that hold the file type.
const MODE_TYPE: u16 = 0o170_000;

/// Log2 of the unit of `st_blocks`.
const SECTOR_BITS: u32 = 9;

/// What both forms of inode start with.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawHead {
    i_format: le::U16,
    i_xattr_icount: le::U16,
    i_mode: le::U16,
    i_nb: le::U16,
}

/// What follows in a compact inode.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawCompact {
    i_size: le::U32,
    i_mtime: le::U32,
    i_u: le::U32,
    i_ino: le::U32,
    i_uid: le::U16,
    i_gid: le::U16,
    i_reserved: le::U32,
}

/// What follows in an extended inode.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawExtended {
    i_size: le::U64,
    i_u: le::U32,
    i_ino: le::U32,
    i_uid: le::U32,
    i_gid: le::U32,
    i_mtime: le::I64,
    i_mtime_nsec: le::U32,
    i_nlink: le::U32,
    i_reserved2: [u8; 16],
}

const HEAD_SIZE: u64 = 8;
const COMPACT_SIZE: u64 = 32;
const EXTENDED_SIZE: u64 = 64;
const _: () = assert!(size_of::<RawHead>() == 8);
const _: () = assert!(size_of::<RawHead>() + size_of::<RawCompact>() == 32);
const _: () = assert!(size_of::<RawHead>() + size_of::<RawExtended>() == 64);

/// How an inode's data is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Uncompressed, in whole consecutive blocks.
    FlatPlain,
    /// Compressed, with full indexes.
    CompressedFull,
    /// Uncompressed, in consecutive blocks except for the last one, which follows the inode.
    FlatInline,
    /// Compressed, with compact indexes.
    CompressedCompact,
    /// Uncompressed, in chunks that each have their own address.
    ChunkBased,
}

impl Layout {
    #[inline]
    fn from_format(i_format: u16) -> Result<Self> {
        match (i_format >> FORMAT_LAYOUT_SHIFT) & FORMAT_LAYOUT_MASK {
            0 => Ok(Layout::FlatPlain),
            1 => Ok(Layout::CompressedFull),
            2 => Ok(Layout::FlatInline),
            3 => Ok(Layout::CompressedCompact),
            4 => Ok(Layout::ChunkBased),
            _ => Err(Error::Unsupported("unknown data layout")),
        }
    }

    /// Whether the data must be decompressed.
    #[inline]
    pub fn is_compressed(self) -> bool {
        matches!(self, Layout::CompressedFull | Layout::CompressedCompact)
    }
}

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A UNIX socket.
    Socket,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// The type in the upper bits of `i_mode`, if there is such a type.
    #[inline]
    pub fn from_mode(mode: u16) -> Option<Self> {
        match mode & MODE_TYPE {
            0o010_000 => Some(FileType::Fifo),
            0o020_000 => Some(FileType::CharDevice),
            0o040_000 => Some(FileType::Directory),
            0o060_000 => Some(FileType::BlockDevice),
            0o100_000 => Some(FileType::Regular),
            0o120_000 => Some(FileType::Symlink),
            0o140_000 => Some(FileType::Socket),
            _ => None,
        }
    }

    /// The type that a dirent's `file_type` states (`FT_*`), if there is such a type.
    pub fn from_dirent(file_type: u8) -> Option<Self> {
        match file_type {
            1 => Some(FileType::Regular),
            2 => Some(FileType::Directory),
            3 => Some(FileType::CharDevice),
            4 => Some(FileType::BlockDevice),
            5 => Some(FileType::Fifo),
            6 => Some(FileType::Socket),
            7 => Some(FileType::Symlink),
            _ => None,
        }
    }

    #[inline]
    fn has_data(self) -> bool {
        matches!(
            self,
            FileType::Regular | FileType::Directory | FileType::Symlink
        )
    }
}

/// An inode, decoded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number: its place in units of 32 bytes, and in bit 63 whether that is in the metabox.
    pub nid: u64,
    /// File type and permissions, as in `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Size in bytes, at most `i64::MAX`.
    pub size: u64,
    /// Time of the last change in seconds since 1970; the only time that an inode has.
    pub mtime: i64,
    /// Nanoseconds of that time, as stored: not checked to be under 10^9.
    pub mtime_nsec: u32,
    /// How the data is stored.
    pub layout: Layout,
    file_type: FileType,
    dot_omitted: bool,
    /// The data is all zeros and not stored.
    hole: bool,
    /// `i_u`: the first block of flat data, the number of blocks of compressed data, a device
    /// number, or the format of chunks.
    i_u: u32,
    /// The upper bits of a block number in `i_u`; 0 if the form has none.
    high: u16,
    xattr_size: u32,
    /// Where in the metadata what follows the fixed part starts: xattrs, then inline data or indexes.
    body: u64,
}

/// What the two forms of inode have in common, beside the head.
struct Fields {
    form_size: u64,
    uid: u32,
    gid: u32,
    nlink: u32,
    size: u64,
    mtime: i64,
    mtime_nsec: u32,
    i_u: u32,
    /// The upper bits of a block number in `i_u`, if the form has them.
    high: Option<u16>,
}

impl Inode {
    /// Reads and checks inode `nid`, in the order of Linux's `erofs_read_inode()`.
    ///
    /// Compressed inodes are read; it's their data that is not supported.
    ///
    /// # Errors
    ///
    /// * [`Error::Unsupported`]: unknown bits of the inode's format or of its chunk format, an
    ///   unknown layout
    /// * [`Error::Corrupt`]: a negative size, a mode without a file type, a compressed inode in an
    ///   image without algorithms, an impossible nid
    /// * [`Error::OutOfBounds`]: the inode is not in the image, or not in its metabox
    #[inline]
    pub fn read<V: Volume + ?Sized>(volume: &V, sb: &SuperBlock, nid: u64) -> Result<Self> {
        if superblock::is_in_metabox(nid) {
            return Self::read_from_metabox(volume, sb, nid);
        }
        Self::read_from(volume.primary(), sb, nid)
    }

    #[inline(never)]
    fn read_from_metabox<V: Volume + ?Sized>(
        volume: &V,
        sb: &SuperBlock,
        nid: u64,
    ) -> Result<Self> {
        Self::read_from(&Contents::new(volume, sb, sb.metabox()?), sb, nid)
    }

    #[inline(always)]
    fn read_from<M: Image + ?Sized>(metadata: &M, sb: &SuperBlock, nid: u64) -> Result<Self> {
        let offset = sb.inode_offset(nid)?;
        // Each byte is read once only, so the form that was checked is the form that is used.
        let head: RawHead = metadata.read(offset)?;
        let rest = offset.saturating_add(HEAD_SIZE);
        let i_format = head.i_format.get();
        if i_format & !FORMAT_ALL != 0 {
            return Err(Error::Unsupported("unknown bits of the inode's format"));
        }
        let layout = Layout::from_format(i_format)?;
        let fields = if i_format & FORMAT_EXTENDED != 0 {
            Fields::extended(&head, &metadata.read(rest)?)
        } else {
            Fields::compact(&head, &metadata.read(rest)?, sb)
        };
        Self::decode(nid, offset, layout, &head, &fields, sb)
    }

    #[inline(always)]
    fn decode(
        nid: u64,
        offset: u64,
        layout: Layout,
        head: &RawHead,
        fields: &Fields,
        sb: &SuperBlock,
    ) -> Result<Self> {
        if i64::try_from(fields.size).is_err() {
            return Err(Error::Corrupt("negative size"));
        }
        let mode = head.i_mode.get();
        let file_type =
            FileType::from_mode(mode).ok_or(Error::Corrupt("mode without a file type"))?;
        match layout {
            Layout::FlatPlain | Layout::FlatInline => {}
            Layout::CompressedFull | Layout::CompressedCompact => sb.check_algorithms()?,
            Layout::ChunkBased => chunk::check_format(chunk_format(fields.i_u))?,
        }
        Ok(Inode {
            nid,
            mode,
            uid: fields.uid,
            gid: fields.gid,
            nlink: fields.nlink,
            size: fields.size,
            mtime: fields.mtime,
            mtime_nsec: fields.mtime_nsec,
            layout,
            file_type,
            dot_omitted: file_type == FileType::Directory
                && head.i_format.get() & FORMAT_DOT_OMITTED != 0,
            hole: layout == Layout::FlatPlain && file_type.has_data() && fields.is_null_address(),
            i_u: fields.i_u,
            high: fields.high.unwrap_or(0),
            xattr_size: xattr_size(head.i_xattr_icount.get()),
            body: offset
                .checked_add(fields.form_size)
                .ok_or(Error::OutOfBounds)?,
        })
    }

    /// What kind of file it is.
    #[inline]
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Major and minor number of a device, 0 and 0 for anything else.
    ///
    /// 8 bits of minor, 12 of major, 12 more of minor: Linux's `new_decode_dev()`.
    #[inline]
    pub fn rdev(&self) -> (u32, u32) {
        match self.file_type {
            FileType::CharDevice | FileType::BlockDevice => {
                let major = (self.i_u & 0xF_FF00) >> 8;
                let minor = self.i_u & 0xFF | (self.i_u >> 12) & 0xF_FF00;
                (major, minor)
            }
            _ => (0, 0),
        }
    }

    /// Size in bytes of the inline xattrs between the fixed part and what follows.
    #[inline]
    pub fn xattr_size(&self) -> u32 {
        self.xattr_size
    }

    /// Whether this is a directory without a dirent for ".".
    ///
    /// [`Cursor::next`](crate::dir::Cursor::next) lists it nevertheless, as the last one.
    #[inline]
    pub fn dot_omitted(&self) -> bool {
        self.dot_omitted
    }

    /// `st_blocks`: the space that the data takes in the image, in units of 512 bytes.
    #[inline]
    pub fn sectors(&self, sb: &SuperBlock) -> u64 {
        let blocks = match self.layout {
            Layout::CompressedFull | Layout::CompressedCompact => self.block_number(),
            Layout::FlatPlain | Layout::FlatInline | Layout::ChunkBased => sb.blocks_for(self.size),
        };
        blocks.wrapping_shl(sb.block_bits().saturating_sub(SECTOR_BITS))
    }

    /// The first block of flat data; `None` if the whole file is a hole.
    #[inline]
    pub(crate) fn start_block(&self) -> Option<u64> {
        (!self.hole).then(|| self.block_number())
    }

    #[inline]
    fn block_number(&self) -> u64 {
        (u64::from(self.high) << 32) | u64::from(self.i_u)
    }

    /// The format of the chunks of a chunk-based inode.
    #[inline]
    pub(crate) fn chunk_format(&self) -> u16 {
        chunk_format(self.i_u)
    }

    /// Whether the inode and what follows it are in the metabox.
    #[inline]
    pub fn in_metabox(&self) -> bool {
        superblock::is_in_metabox(self.nid)
    }

    /// Where in the metadata the inline xattrs start.
    #[inline]
    pub(crate) fn body(&self) -> u64 {
        self.body
    }

    /// Where in the metadata what follows the xattrs starts: inline data, or the addresses of chunks.
    #[inline]
    pub(crate) fn behind_xattrs(&self) -> Result<u64> {
        self.body
            .checked_add(u64::from(self.xattr_size))
            .ok_or(Error::OutOfBounds)
    }
}

impl Fields {
    #[inline]
    fn compact(head: &RawHead, raw: &RawCompact, sb: &SuperBlock) -> Self {
        let i_nb = head.i_nb.get();
        let is_dir = FileType::from_mode(head.i_mode.get()) == Some(FileType::Directory);
        let one_link = !is_dir && head.i_format.get() & FORMAT_NLINK_1 != 0;
        Fields {
            form_size: COMPACT_SIZE,
            uid: u32::from(raw.i_uid),
            gid: u32::from(raw.i_gid),
            nlink: if one_link { 1 } else { u32::from(i_nb) },
            size: u64::from(raw.i_size),
            mtime: sb.epoch().wrapping_add(i64::from(raw.i_mtime.get())),
            mtime_nsec: sb.fixed_nsec(),
            i_u: raw.i_u.get(),
            high: one_link.then_some(i_nb),
        }
    }

    #[inline]
    fn extended(head: &RawHead, raw: &RawExtended) -> Self {
        Fields {
            form_size: EXTENDED_SIZE,
            uid: raw.i_uid.get(),
            gid: raw.i_gid.get(),
            nlink: raw.i_nlink.get(),
            size: raw.i_size.get(),
            mtime: raw.i_mtime.get(),
            mtime_nsec: raw.i_mtime_nsec.get(),
            i_u: raw.i_u.get(),
            high: Some(head.i_nb.get()),
        }
    }

    /// Whether all bits of the address that the form has are set (`EROFS_NULL_ADDR`).
    #[inline]
    fn is_null_address(&self) -> bool {
        self.i_u == u32::MAX && self.high.unwrap_or(u16::MAX) == u16::MAX
    }
}

/// The chunk format in the lower half of `i_u`.
#[inline]
fn chunk_format(i_u: u32) -> u16 {
    let [low, high, ..] = i_u.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// `erofs_xattr_ibody_size()`: a header of 12 bytes, then units of 4 bytes.
#[inline]
fn xattr_size(i_xattr_icount: u16) -> u32 {
    match i_xattr_icount.checked_sub(1) {
        Some(units) => 12 + 4 * u32::from(units),
        None => 0,
    }
}

#[cfg(not(in_kernel))]
mod changes;
#[cfg(test)]
mod tests;
