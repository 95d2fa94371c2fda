// SPDX-License-Identifier: GPL-2.0

//! An image whose compressed data can be read.

use erodax_format::inode::Inode;
use erodax_format::pcluster::{Algorithm, Cursor, Data, Encoded, Encoding, Pcluster, Place};
use erodax_format::superblock::SuperBlock;
use erodax_format::{Error, Image, Result, Volume};
use std::cell::RefCell;

const DAMAGED: Error = Error::Corrupt("data that does not decode");

/// Bytes that are decoded of a pcluster at most, so that checks end soon.
const MAX_BYTES: usize = 256 << 10;

/// LZ4 is decoded as the driver does it. For other algorithms there is something that behaves like
/// a decoder, and needs no good data: the pcluster's bytes again and again.
pub(crate) struct Decoded<'a> {
    image: &'a [u8],
    /// The pcluster that was decoded last, and its first bytes: metadata is read piece by piece.
    last: RefCell<Option<(Encoded, Vec<u8>)>>,
}

impl<'a> Decoded<'a> {
    pub(crate) fn new(image: &'a [u8]) -> Self {
        Decoded {
            image,
            last: RefCell::new(None),
        }
    }

    /// Fills `out` with the bytes of an extent from its byte `skip` on.
    fn fill(&self, sb: &SuperBlock, pcluster: &Pcluster, skip: u64, out: &mut [u8]) -> Result<()> {
        match &pcluster.data {
            Data::Hole => out.fill(0),
            Data::Fragment { offset } => {
                let packed = sb.packed().ok_or(DAMAGED)?;
                let at = offset.checked_add(skip).ok_or(DAMAGED)?;
                all(packed.read_data(self, sb, at, out)?, out)?;
            }
            Data::Encoded(encoded) => match encoded.encoding {
                Encoding::Compressed(algorithm) => {
                    self.decode(sb, encoded, algorithm, skip, out)?;
                }
                Encoding::Shifted | Encoding::Interlaced => {
                    self.copy_plain(sb, pcluster, encoded, skip, out)?;
                }
            },
        }
        Ok(())
    }

    fn copy_plain(
        &self,
        sb: &SuperBlock,
        pcluster: &Pcluster,
        encoded: &Encoded,
        skip: u64,
        out: &mut [u8],
    ) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let part = pcluster
                .plain_part(sb, skip + to_u64(done))
                .ok_or(DAMAGED)?;
            let len = usize::try_from(part.len).unwrap_or(usize::MAX);
            let len = len.min(out.len() - done);
            self.read(sb, encoded, part.offset, &mut out[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    fn decode(
        &self,
        sb: &SuperBlock,
        encoded: &Encoded,
        algorithm: Algorithm,
        skip: u64,
        out: &mut [u8],
    ) -> Result<()> {
        let start = usize::try_from(skip).unwrap_or(usize::MAX);
        let end = start.checked_add(out.len()).ok_or(DAMAGED)?;
        if end > MAX_BYTES {
            return Err(Error::Unsupported("large pcluster"));
        }
        let known = self.last.borrow_mut().take();
        let bytes = match known {
            Some((last, bytes)) if last == *encoded && bytes.len() >= end => bytes,
            _ => {
                let mut input = vec![0; usize::try_from(encoded.len).unwrap_or(0)];
                self.read(sb, encoded, 0, &mut input)?;
                decode(algorithm, &input, end)?
            }
        };
        out.copy_from_slice(&bytes[start..end]);
        *self.last.borrow_mut() = Some((*encoded, bytes));
        Ok(())
    }

    /// Bytes of a pcluster as they are stored, from its byte `start` on.
    fn read(&self, sb: &SuperBlock, encoded: &Encoded, start: u64, out: &mut [u8]) -> Result<()> {
        match encoded.place {
            Place::Device { device, offset } => self.device(device)?.read_at(offset + start, out),
            Place::Metabox { offset } => {
                all(sb.metabox()?.read_data(self, sb, offset + start, out)?, out)
            }
        }
    }
}

/// That as many bytes were read as there is room for.
fn all(read: usize, out: &[u8]) -> Result<()> {
    match read == out.len() {
        true => Ok(()),
        false => Err(Error::OutOfBounds),
    }
}

/// The first `len` bytes that `input` decodes to.
fn decode(algorithm: Algorithm, input: &[u8], len: usize) -> Result<Vec<u8>> {
    let padding = input.iter().position(|byte| *byte != 0).ok_or(DAMAGED)?;
    let input = &input[padding..];
    if algorithm != Algorithm::Lz4 {
        return Ok(input.iter().copied().cycle().take(len).collect());
    }
    let mut output = vec![0; len];
    match lz4_flex::block::decompress_into_partial(input, &mut output) {
        Ok(written) if written == len => Ok(output),
        _ => Err(DAMAGED),
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Volume for Decoded<'_> {
    type Device = [u8];

    fn primary(&self) -> &[u8] {
        self.image
    }

    fn read_compressed(
        &self,
        sb: &SuperBlock,
        inode: &Inode,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let header = inode.map_header(self, sb)?;
        let mut cursor = Cursor::default();
        let mut done = 0;
        while done < buf.len() {
            let at = pos + to_u64(done);
            let pcluster = inode.pcluster_at(self, sb, &header, &mut cursor, at)?;
            let skip = at - pcluster.start;
            let len = usize::try_from(pcluster.len - skip).unwrap_or(usize::MAX);
            let len = len.min(buf.len() - done);
            self.fill(sb, &pcluster, skip, &mut buf[done..done + len])?;
            done += len;
        }
        Ok(())
    }
}
