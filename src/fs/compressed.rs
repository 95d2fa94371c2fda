// SPDX-License-Identifier: GPL-2.0

//! The data of compressed files: from pclusters in memory to page-cache folios.
//!
//! A pcluster is decoded straight to where its bytes are wanted if they lie together there, and
//! through a buffer if they do not. What many files share (the packed inode) and metadata (the
//! metabox inode) are read through page caches of their own.

use super::volume::Devices;
use crate::{
    codec,
    vfs::{self, Extent, Form, OwnInode, Writer},
};
use core::ops::Range;
use erodax_format::{
    inode::Inode as FormatInode,
    pcluster::{Cursor, Data, Encoded, Encoding, MapHeader, Pcluster, Place},
    superblock::SuperBlock,
    Error, Image, Result,
};
use kernel::{
    page::PAGE_SIZE,
    prelude::{KBox, KVec, Pin, GFP_KERNEL},
};

/// Bytes of an extent that is better decoded as a whole than once more for each page of it.
const LARGE: u64 = 32 << 10;

/// Bytes that an extent may have to be filled as a whole where a part of it is wanted.
const FILLED_TOGETHER: u64 = 1 << 20;

/// What a mounted image with compressed data needs beside its devices.
pub(super) struct Compressed {
    pool: Pin<KBox<codec::Pool>>,
    /// The inode that has parts of files.
    pub(super) packed: OwnInode,
    /// The inode that has metadata.
    pub(super) metabox: OwnInode,
}

impl Compressed {
    pub(super) fn new(sb: &SuperBlock) -> kernel::error::Result<Self> {
        Ok(Self {
            pool: codec::Pool::new(sb.algorithms())?,
            packed: OwnInode::new(),
            metabox: OwnInode::new(),
        })
    }
}

/// Finds the pclusters of one file.
pub(super) struct Map<'a> {
    pub(super) devices: &'a Devices,
    pub(super) sb: &'a SuperBlock,
    pub(super) inode: &'a FormatInode,
    pub(super) header: MapHeader,
}

impl Map<'_> {
    pub(super) fn pcluster_at(&self, cursor: &mut Cursor, position: u64) -> Result<Pcluster> {
        self.inode
            .pcluster_at(self.devices, self.sb, &self.header, cursor, position)
    }

    /// The bytes that a range is best read together with: what is decoded for it anyway, and the rest
    /// of the extent that it ends in if more than a page is wanted, as when reading in order, or if the
    /// extent is so long that decoding it twice would cost more.
    pub(super) fn together(&self, wanted: Range<u64>) -> Result<Range<u64>> {
        let mut cursor = Cursor::default();
        let first = self.pcluster_at(&mut cursor, wanted.start)?;
        let mut last = first;
        if first.start.saturating_add(first.len) < wanted.end {
            last = self.pcluster_at(&mut cursor, wanted.end.saturating_sub(1))?;
        }
        let page = PAGE_SIZE as u64;
        let mut end = wanted.end;
        if last.len >= LARGE {
            // With the page that its end is in, which would need all of it again; of what follows
            // there only a beginning is needed.
            end = last.start.saturating_add(last.len).next_multiple_of(page);
        } else if wanted.end - wanted.start > page {
            // Without that page: windows of readahead that nearly always are a page longer than the
            // kernel had them begin at odd pages, and so have small folios.
            end = last.start.saturating_add(last.len);
        }
        Ok(Range {
            start: first
                .start
                .max(wanted.start.saturating_sub(FILLED_TOGETHER)),
            end: end.min(wanted.end.saturating_add(FILLED_TOGETHER)),
        })
    }

    /// Where the bytes from `position` on lie, as FIEMAP tells it; `offset` is where in its device
    /// the image begins.
    pub(super) fn place_at(&self, position: u64, offset: u64) -> Result<Extent> {
        let pcluster = self.pcluster_at(&mut Cursor::default(), position)?;
        let before = position.saturating_sub(pcluster.start);
        let address = match &pcluster.data {
            Data::Hole => None,
            Data::Encoded(Encoded {
                place: Place::Device { device, offset: at },
                ..
            }) => Some(at.saturating_add(if *device == 0 { offset } else { 0 })),
            // In the data of another inode: at no place of its own.
            Data::Fragment { .. } | Data::Encoded(_) => Some(0),
        };
        Ok(Extent {
            before,
            len: pcluster.len.saturating_sub(before),
            place: match address {
                Some(address) => vfs::Place::Data {
                    address,
                    form: Form::Encoded,
                },
                None => vfs::Place::Hole,
            },
        })
    }

    /// Writes the file's bytes up to `end`, which is behind neither its own nor what is wanted: of
    /// an extent that goes on there only the beginning is decoded.
    pub(super) fn write(&self, end: u64, out: &mut impl Writer) -> Result<()> {
        let mut cursor = Cursor::default();
        loop {
            let position = out.position();
            if position >= end {
                return Ok(());
            }
            let pcluster = self.pcluster_at(&mut cursor, position)?;
            let stop = pcluster.start.saturating_add(pcluster.len).min(end);
            let piece = Piece {
                pcluster: &pcluster,
                skip: position.saturating_sub(pcluster.start),
                len: stop.saturating_sub(position),
            };
            match &pcluster.data {
                Data::Hole => write_all(out, piece.len, |_, part| {
                    part.fill(0);
                    Ok(())
                })?,
                Data::Fragment { offset } => {
                    let start = offset.saturating_add(piece.skip);
                    write_all(out, piece.len, |done, part| {
                        self.read_packed(start + done, part)
                    })?;
                }
                Data::Encoded(encoded) => match encoded.encoding {
                    Encoding::Compressed(_) => self.decompress(&piece, encoded, out)?,
                    Encoding::Shifted | Encoding::Interlaced => {
                        self.copy_plain(&piece, encoded, out)?;
                    }
                },
            }
        }
    }

    /// Bytes of the packed inode.
    fn read_packed(&self, position: u64, out: &mut [u8]) -> Result<()> {
        let packed = self.sb.packed().ok_or(Error::OutOfBounds)?;
        let read = packed.read_data(self.devices, self.sb, position, out)?;
        match read == out.len() {
            true => Ok(()),
            false => Err(Error::OutOfBounds),
        }
    }

    /// Copies a piece of a pcluster that is not compressed.
    fn copy_plain(
        &self,
        piece: &Piece<'_>,
        encoded: &Encoded,
        out: &mut impl Writer,
    ) -> Result<()> {
        write_all(out, piece.len, |done, part| {
            let mut rest = part;
            let mut skip = piece.skip.saturating_add(done);
            while !rest.is_empty() {
                let there = piece
                    .pcluster
                    .plain_part(self.sb, skip)
                    .ok_or(Error::OutOfBounds)?;
                let len = usize::try_from(there.len)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                let (now, later) = rest.split_at_mut_checked(len).ok_or(Error::OutOfBounds)?;
                self.read_encoded(encoded, there.offset, now)?;
                skip = skip.saturating_add(there.len);
                rest = later;
            }
            Ok(())
        })
    }

    /// Decodes a piece of a pcluster: to where it is wanted if that can be had in one piece,
    /// otherwise through a buffer.
    ///
    /// Between taking the workspace and giving it back nothing is read that may have to be decoded
    /// itself, as indexes and fragments may: that would need another one, for which both could wait
    /// for ever if there is no memory.
    fn decompress(
        &self,
        piece: &Piece<'_>,
        encoded: &Encoded,
        out: &mut impl Writer,
    ) -> Result<()> {
        let copy = self.copy_of(encoded)?;
        let mut workspace = self.devices.compressed()?.pool.take();
        let (Ok(skip), Ok(len)) = (usize::try_from(piece.skip), usize::try_from(piece.len)) else {
            return Err(Error::OutOfBounds);
        };
        let decoded = out.write_together(skip, len, |place| {
            let (decoders, _) = workspace.parts(0).map_err(no_memory)?;
            self.decode(piece, encoded, &copy, decoders, place)
        });
        if let Some(decoded) = decoded {
            return decoded;
        }
        let (decoders, buffer) = workspace.parts(skip + len).map_err(no_memory)?;
        self.decode(piece, encoded, &copy, decoders, buffer)?;
        let mut left = buffer.get(skip..).unwrap_or_default();
        write_all(out, piece.len, |_, part| {
            let (now, later) = left
                .split_at_checked(part.len())
                .ok_or(Error::OutOfBounds)?;
            part.copy_from_slice(now);
            left = later;
            Ok(())
        })
    }

    /// A copy of the stored bytes of a pcluster that is not on a device; empty for one that is.
    fn copy_of(&self, encoded: &Encoded) -> Result<KVec<u8>> {
        let mut copy = KVec::new();
        if let Place::Metabox { .. } = encoded.place {
            // Not longer than a block.
            copy = KVec::from_elem(0, encoded.len as usize, GFP_KERNEL)
                .map_err(|error| no_memory(error.into()))?;
            self.read_encoded(encoded, 0, &mut copy)?;
        }
        Ok(copy)
    }

    /// Fills `out` with the first bytes of a pcluster, of which `copy` is what [`copy_of`](Self::copy_of)
    /// made.
    fn decode(
        &self,
        piece: &Piece<'_>,
        encoded: &Encoded,
        copy: &[u8],
        decoders: &mut codec::Decoders,
        out: &mut [u8],
    ) -> Result<()> {
        let Encoding::Compressed(algorithm) = encoded.encoding else {
            return Err(Error::OutOfBounds);
        };
        let pcluster = piece.pcluster;
        let is_whole = pcluster.is_whole && !encoded.is_partial && out.len() as u64 == pcluster.len;
        let decoded = match encoded.place {
            Place::Device { device, offset } => {
                let view = self.devices.view(device).ok_or(Error::NoDevice)?;
                let padding = self.first_block(offset);
                view.with_part(offset, encoded.len.into(), |part| {
                    part.decode(decoders, algorithm, padding, out, is_whole)
                })?
            }
            Place::Metabox { offset } => {
                let padding = self.first_block(offset);
                decoders.decode_slice(algorithm, copy, padding, out, is_whole)
            }
        };
        decoded.map_err(|codec::Damaged| Error::Corrupt("data that does not decode"))
    }

    /// Bytes from `offset` on to the end of the block.
    fn first_block(&self, offset: u64) -> usize {
        let size = u64::from(self.sb.block_size());
        (size - self.sb.offset_in_block(offset)) as usize
    }

    /// Bytes of a pcluster as they are stored, from its byte `start` on.
    fn read_encoded(&self, encoded: &Encoded, start: u64, out: &mut [u8]) -> Result<()> {
        match encoded.place {
            Place::Device { device, offset } => {
                let view = self.devices.view(device).ok_or(Error::NoDevice)?;
                view.read_at(offset.saturating_add(start), out)
            }
            Place::Metabox { offset } => {
                let metabox = self.sb.metabox()?;
                let start = offset.saturating_add(start);
                let read = metabox.read_data(self.devices, self.sb, start, out)?;
                match read == out.len() {
                    true => Ok(()),
                    false => Err(Error::OutOfBounds),
                }
            }
        }
    }
}

/// Bytes of an extent that are wanted.
struct Piece<'a> {
    pcluster: &'a Pcluster,
    /// Bytes of the extent before them.
    skip: u64,
    /// How many they are.
    len: u64,
}

/// Writes `len` bytes, as far as they are wanted, in parts that `fill` is called for with how many
/// there are before each.
fn write_all<W: Writer>(
    out: &mut W,
    len: u64,
    mut fill: impl FnMut(u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    while done < len {
        let left = usize::try_from(len - done).unwrap_or(usize::MAX);
        let buffer = out.buffer();
        let now = left.min(buffer.len());
        let Some(part) = buffer.get_mut(..now).filter(|part| !part.is_empty()) else {
            return Ok(());
        };
        fill(done, part)?;
        out.advance(now);
        done += now as u64;
    }
    Ok(())
}

fn no_memory(error: kernel::error::Error) -> Error {
    Error::Volume(error.to_errno())
}

/// A slice that bytes of a file are written to.
pub(super) struct SliceWriter<'a> {
    position: u64,
    left: &'a mut [u8],
}

impl<'a> SliceWriter<'a> {
    pub(super) fn new(position: u64, slice: &'a mut [u8]) -> Self {
        Self {
            position,
            left: slice,
        }
    }
}

impl Writer for SliceWriter<'_> {
    fn position(&self) -> u64 {
        self.position
    }

    fn end(&self) -> u64 {
        self.position.saturating_add(self.left.len() as u64)
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.left
    }

    fn advance(&mut self, len: usize) {
        let left = core::mem::take(&mut self.left);
        self.left = left.get_mut(len..).unwrap_or_default();
        self.position = self.position.saturating_add(len as u64);
    }
}

impl Devices {
    fn compressed(&self) -> Result<&Compressed> {
        self.compressed.as_ref().ok_or(Error::Corrupt(
            "compressed data in an image without algorithms",
        ))
    }

    /// See [`Volume::read_compressed`]: through the page cache for the inodes that many others need.
    pub(super) fn read_decoded(
        &self,
        sb: &SuperBlock,
        inode: &FormatInode,
        position: u64,
        out: &mut [u8],
    ) -> Result<()> {
        let compressed = self.compressed()?;
        let is = |special: Option<&FormatInode>| special.is_some_and(|it| it.nid == inode.nid);
        let cached = if is(sb.packed()) {
            compressed.packed.read(position, out)
        } else if is(sb.metabox().ok()) {
            compressed.metabox.read(position, out)
        } else {
            None
        };
        if let Some(read) = cached {
            return read.map_err(no_memory);
        }
        let header = inode.map_header(self, sb)?;
        let end = position.saturating_add(out.len() as u64);
        let map = Map {
            devices: self,
            sb,
            inode,
            header,
        };
        map.write(end, &mut SliceWriter::new(position, out))
    }
}
