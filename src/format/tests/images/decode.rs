// SPDX-License-Identifier: GPL-2.0

//! Decoding compressed files on the host, with libraries other than those that the kernel has,
//! except for LZ4.

use erodax_format::inode::Inode;
use erodax_format::pcluster::{Algorithm, Cursor, Data, Encoded, Encoding, Pcluster, Place};
use erodax_format::superblock::SuperBlock;
use erodax_format::{Error, Image, Result, Volume};
use liblzma::stream::{Action, Status, Stream};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::rc::Rc;

const BAD_DATA: Error = Error::Corrupt("data that does not decode");

/// What the pclusters of files were, so that a test can tell what it has tested.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pclusters: Vec<Pcluster>,
}

impl Seen {
    pub(crate) fn count(&self, what: impl Fn(&Encoded) -> bool) -> usize {
        let encoded = self
            .pclusters
            .iter()
            .filter(|pcluster| match &pcluster.data {
                Data::Encoded(encoded) => what(encoded),
                _ => false,
            });
        encoded.count()
    }

    pub(crate) fn fragments(&self) -> usize {
        let fragments = self
            .pclusters
            .iter()
            .filter(|pcluster| matches!(pcluster.data, Data::Fragment { .. }));
        fragments.count()
    }
}

/// Files up to this size are decoded as a whole when something of them is read.
const CACHED: u64 = 4 << 20;

/// An image whose compressed data can be read.
pub(crate) struct Decoding<'a> {
    image: &'a [u8],
    /// Files by their nid; `None` for those that do not decode as a whole.
    files: RefCell<BTreeMap<u64, Option<Rc<[u8]>>>>,
}

impl<'a> Decoding<'a> {
    pub(crate) fn new(image: &'a [u8]) -> Self {
        Decoding {
            image,
            files: RefCell::default(),
        }
    }

    fn file(&self, sb: &SuperBlock, inode: &Inode) -> Option<Rc<[u8]>> {
        if inode.size > CACHED {
            return None;
        }
        if let Some(file) = self.files.borrow().get(&inode.nid) {
            return file.clone();
        }
        let bytes = file(self, sb, inode, &mut Seen::default()).ok();
        let file: Option<Rc<[u8]>> = bytes.map(Rc::from);
        self.files.borrow_mut().insert(inode.nid, file.clone());
        file
    }
}

impl Volume for Decoding<'_> {
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
        let len = to_u64(buf.len());
        match self.file(sb, inode) {
            Some(file) => buf.copy_from_slice(&file[to_usize(pos)..][..buf.len()]),
            None => buf.copy_from_slice(&range(self, sb, inode, pos, len, &mut Seen::default())?),
        }
        Ok(())
    }
}

/// All bytes of a compressed file.
pub(crate) fn file<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    inode: &Inode,
    seen: &mut Seen,
) -> Result<Vec<u8>> {
    range(volume, sb, inode, 0, inode.size, seen)
}

/// `len` bytes of a compressed file from byte `start` on.
pub(crate) fn range<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    inode: &Inode,
    start: u64,
    len: u64,
    seen: &mut Seen,
) -> Result<Vec<u8>> {
    let header = inode.map_header(volume, sb)?;
    let mut cursor = Cursor::default();
    let mut bytes = Vec::new();
    while to_u64(bytes.len()) < len {
        let pos = start + to_u64(bytes.len());
        let pcluster = inode.pcluster_at(volume, sb, &header, &mut cursor, pos)?;
        assert!(pcluster.start <= pos && pos < pcluster.start + pcluster.len);
        assert!(pcluster.start + pcluster.len <= inode.size);
        seen.pclusters.push(pcluster);
        let skip = pos - pcluster.start;
        let wanted = (pcluster.len - skip).min(start + len - pos);
        match &pcluster.data {
            Data::Hole => bytes.resize(bytes.len() + to_usize(wanted), 0),
            Data::Fragment { offset } => {
                let packed = sb.packed().expect("checked already");
                let mut part = vec![0; to_usize(wanted)];
                let read = packed.read_data(volume, sb, offset + skip, &mut part)?;
                if read < part.len() {
                    return Err(BAD_DATA);
                }
                bytes.extend(part);
            }
            Data::Encoded(encoded) => {
                let decoded = decode(volume, sb, &pcluster, encoded)?;
                bytes.extend(&decoded[to_usize(skip)..][..to_usize(wanted)]);
            }
        }
    }
    Ok(bytes)
}

fn decode<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    pcluster: &Pcluster,
    encoded: &Encoded,
) -> Result<Vec<u8>> {
    let (offset, input) = read(volume, sb, encoded)?;
    let Encoding::Compressed(algorithm) = encoded.encoding else {
        let mut bytes = Vec::new();
        while let Some(part) = pcluster.plain_part(sb, to_u64(bytes.len())) {
            bytes.extend(&input[to_usize(part.offset)..][..to_usize(part.len)]);
        }
        return Ok(bytes);
    };
    // Zeros fill up the first block.
    let first_block = u64::from(sb.block_size()) - offset % u64::from(sb.block_size());
    let padding = input.iter().take_while(|byte| **byte == 0).count();
    if to_u64(padding) >= first_block || padding == input.len() {
        return Err(BAD_DATA);
    }
    let input = &input[padding..];
    let mut output = vec![0; to_usize(pcluster.len)];
    let len = match algorithm {
        Algorithm::Lz4 => lz4_flex::block::decompress_into_partial(input, &mut output).ok(),
        Algorithm::Lzma => micro_lzma(input, &mut output),
        Algorithm::Deflate => {
            let mut stream = flate2::read::DeflateDecoder::new(input);
            stream.read_exact(&mut output).ok().map(|()| output.len())
        }
        Algorithm::Zstd => {
            let mut stream = zstd::stream::read::Decoder::new(input).map_err(|_| BAD_DATA)?;
            stream.read_exact(&mut output).ok().map(|()| output.len())
        }
    };
    match len {
        Some(len) if len == output.len() => Ok(output),
        _ => Err(BAD_DATA),
    }
}

/// Where the data is, and the data.
fn read<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    encoded: &Encoded,
) -> Result<(u64, Vec<u8>)> {
    let mut input = vec![0; to_usize(u64::from(encoded.len))];
    match encoded.place {
        Place::Device { device, offset } => {
            volume.device(device)?.read_at(offset, &mut input)?;
            Ok((offset, input))
        }
        Place::Metabox { offset } => {
            sb.metabox()?.read_data(volume, sb, offset, &mut input)?;
            Ok((offset, input))
        }
    }
}

/// MicroLZMA is LZMA whose first byte, which is always 0, is the complement of the one in the header
/// of an `.lzma` file. What follows that one there are the sizes of the dictionary and of the file.
fn micro_lzma(input: &[u8], output: &mut [u8]) -> Option<usize> {
    let (first, rest) = input.split_first()?;
    let mut file = vec![!first, 0, 0, 0x80, 0];
    // Unknown, so that what is not needed may be missing.
    file.extend([0xFF; 8]);
    file.push(0);
    file.extend(rest);
    let mut stream = Stream::new_lzma_decoder(u64::MAX).ok()?;
    let mut consumed = 0;
    loop {
        let written = to_usize(stream.total_out());
        if written == output.len() {
            return Some(written);
        }
        let status = stream.process(&file[consumed..], &mut output[written..], Action::Run);
        let before = consumed;
        consumed = to_usize(stream.total_in());
        let progress = consumed > before || to_usize(stream.total_out()) > written;
        match status {
            Ok(Status::Ok) if progress => {}
            _ => return Some(to_usize(stream.total_out())),
        }
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap()
}
