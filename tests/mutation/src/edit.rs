// SPDX-License-Identifier: GPL-2.0

//! Changing fields of single files of an image, which are found by their paths.
//!
//! Every change must change something, and what is looked for must be there: an image that has come
//! out otherwise than its editor thinks is an error, not a test of nothing.

use crate::field::Structure;
use crate::places::{Place, SUPER_BLOCK};
use crate::seal::seal;
use anyhow::{ensure, Context, Result};
use erodax_format::dir::{self, Cursor};
use erodax_format::flat::Extent;
use erodax_format::inode::Inode;
use erodax_format::superblock::SuperBlock;

/// `i_format`: the inode is an extended one.
const FORMAT_EXTENDED: u64 = 1 << 0;

/// An image that is being changed.
#[derive(Debug)]
pub struct Edit {
    /// Its bytes, of which each can be changed.
    pub bytes: Vec<u8>,
    /// Its superblock, as it was at first.
    pub sb: SuperBlock,
}

/// A file of an image: its inode, which is not in a metabox, and what follows that.
#[derive(Clone, Debug)]
pub struct File {
    /// Where its inode is.
    pub place: Place,
    /// What the inode says.
    pub inode: Inode,
}

impl Edit {
    /// Starts with a good image.
    ///
    /// # Errors
    ///
    /// That of reading its superblock.
    pub fn open(bytes: Vec<u8>) -> Result<Self> {
        let sb = SuperBlock::read(&bytes[..])?;
        Ok(Edit { bytes, sb })
    }

    /// The changed image, its checksum right.
    pub fn finish(mut self) -> Vec<u8> {
        seal(&mut self.bytes);
        self.bytes
    }

    /// The block size in bytes.
    pub fn block(&self) -> usize {
        1 << self.sb.block_bits()
    }

    /// What a field says.
    ///
    /// # Errors
    ///
    /// If it is not in the image.
    pub fn get(&self, place: Place, name: &str) -> Result<u64> {
        let value = place.get(&self.bytes, name);
        value.with_context(|| format!("{name} of {place:?} is not in the image"))
    }

    /// Sets a field of up to 8 bytes, which must have had another value.
    ///
    /// # Errors
    ///
    /// If it has that value already, cannot hold it, or is not in the image.
    pub fn set(&mut self, place: Place, name: &str, value: u64) -> Result<()> {
        let old = self.get(place, name)?;
        ensure!(old != value, "{name} of {place:?} is {value:#x} already");
        place.set(&mut self.bytes, name, value);
        let new = self.get(place, name)?;
        ensure!(new == value, "{value:#x} does not fit into {name}");
        Ok(())
    }

    /// Sets bits of a field that must be clear.
    ///
    /// # Errors
    ///
    /// If one of them is set already; those of [`set`](Edit::set).
    pub fn set_bits(&mut self, place: Place, name: &str, bits: u64) -> Result<()> {
        let old = self.get(place, name)?;
        ensure!(old & bits == 0, "{name} of {place:?} is {old:#x} already");
        self.set(place, name, old | bits)
    }

    /// Overwrites bytes.
    ///
    /// # Errors
    ///
    /// If they are not in the image, or are those already.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let place = self.bytes.get_mut(offset..offset + bytes.len());
        let place = place.with_context(|| format!("byte {offset} is not in the image"))?;
        ensure!(place != bytes, "bytes that are there already");
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds blocks with this content; returns the address of the first one.
    ///
    /// # Errors
    ///
    /// If the image does not consist of blocks, or has no room for their number.
    pub fn append(&mut self, content: &[u8]) -> Result<u64> {
        let (block, end) = (self.block(), self.bytes.len());
        ensure!(end % block == 0, "an image of {end} bytes");
        self.bytes.extend_from_slice(content);
        let size = self.bytes.len().next_multiple_of(block);
        self.bytes.resize(size, 0);
        self.set(SUPER_BLOCK, "blocks_lo", u64::try_from(size / block)?)?;
        Ok(u64::try_from(end / block)?)
    }

    /// Makes a path lead to the inode at this byte of the image.
    ///
    /// # Errors
    ///
    /// If there is no such path, or no inode can be there.
    pub fn lead_to(&mut self, path: &str, inode: usize) -> Result<()> {
        let first = self.sb.inode_offset(0)?;
        let after = u64::try_from(inode)?.checked_sub(first);
        let nid = after
            .filter(|after| after % 32 == 0)
            .map(|after| after / 32);
        let nid = nid.with_context(|| format!("no place for an inode: {inode}"))?;
        let dirent = self.dirent(path)?;
        self.set(dirent, "nid", nid)
    }

    /// Finds a file by its path below the root, whose own path is empty.
    ///
    /// # Errors
    ///
    /// If there is none, or on the way to it something is wrong.
    pub fn file(&self, path: &str) -> Result<File> {
        let mut nid = self.sb.root_nid();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let directory = Inode::read(&self.bytes[..], &self.sb, nid)?;
            let found = dir::lookup(&self.bytes[..], &self.sb, &directory, name.as_bytes())?;
            nid = found
                .with_context(|| format!("the image has no {path}"))?
                .nid;
        }
        self.file_of(nid)
    }

    /// The file with this number.
    ///
    /// # Errors
    ///
    /// If there is none, or it is in a metabox.
    pub fn file_of(&self, nid: u64) -> Result<File> {
        let inode = Inode::read(&self.bytes[..], &self.sb, nid)?;
        ensure!(!inode.in_metabox(), "nid {nid} is in the metabox");
        let mut place = Place {
            structure: Structure::CompactInode,
            offset: usize::try_from(self.sb.inode_offset(nid)?)?,
        };
        if self.get(place, "i_format")? & FORMAT_EXTENDED != 0 {
            place.structure = Structure::ExtendedInode;
        }
        Ok(File { place, inode })
    }

    /// Finds the dirent of a path.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn dirent(&self, path: &str) -> Result<Place> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.file(parent)?.inode;
        let mut cursor = Cursor::new(0);
        while let Some(record) = cursor.advance(&self.bytes[..], &self.sb, &parent)? {
            let start = usize::try_from(record.name_offset)?;
            let found = self.bytes.get(start..start + record.name_len);
            if found != Some(name.as_bytes()) {
                continue;
            }
            let Extent::Data { offset, .. } =
                parent.extent_at(&self.bytes[..], &self.sb, record.pos)?
            else {
                anyhow::bail!("{path} is in a hole")
            };
            return Ok(Place {
                structure: Structure::Dirent,
                offset: usize::try_from(offset)?,
            });
        }
        anyhow::bail!("no entry of {path}")
    }
}

impl File {
    /// Where its own xattrs begin.
    pub fn xattrs(&self) -> Place {
        Place {
            structure: Structure::XattrHeader,
            offset: self.place.offset + self.place.structure.size(),
        }
    }

    /// Its first own xattr, if none of its xattrs are shared.
    pub fn first_xattr(&self) -> Place {
        Place {
            structure: Structure::XattrEntry,
            // The header without a shared id.
            offset: self.xattrs().offset + 12,
        }
    }

    /// Where what follows the xattrs begins: a tail, chunks, or the header of an index.
    ///
    /// # Errors
    ///
    /// If the xattrs are too large for this machine.
    pub fn behind_xattrs(&self) -> Result<usize> {
        Ok(self.xattrs().offset + usize::try_from(self.inode.xattr_size())?)
    }

    /// An element of the array of a chunk-based file with indexes.
    ///
    /// # Errors
    ///
    /// Those of [`behind_xattrs`](File::behind_xattrs).
    pub fn chunk(&self, number: usize) -> Result<Place> {
        element(
            Structure::ChunkIndex,
            self.behind_xattrs()?.next_multiple_of(8),
            number,
        )
    }

    /// The header of a compressed file's index.
    ///
    /// # Errors
    ///
    /// Those of [`behind_xattrs`](File::behind_xattrs).
    pub fn map_header(&self) -> Result<Place> {
        let offset = self.behind_xattrs()?.next_multiple_of(8);
        element(Structure::MapHeader, offset, 0)
    }

    /// An element of a full index.
    ///
    /// # Errors
    ///
    /// Those of [`behind_xattrs`](File::behind_xattrs).
    pub fn lcluster(&self, number: usize) -> Result<Place> {
        // The header is followed by a gap of its size.
        let first = self.map_header()?.offset + 16;
        element(Structure::LclusterIndex, first, number)
    }

    /// A pack of a compact index, of the small ones at its start.
    ///
    /// # Errors
    ///
    /// Those of [`behind_xattrs`](File::behind_xattrs).
    pub fn small_pack(&self, number: usize) -> Result<Place> {
        let first = self.map_header()?.offset + 8;
        element(Structure::SmallPack, first, number)
    }

    /// A record of an encoded extent, of 8, 16 or 32 bytes as the file's index has them.
    ///
    /// # Errors
    ///
    /// Those of [`behind_xattrs`](File::behind_xattrs).
    pub fn extent(&self, record: Structure, number: usize) -> Result<Place> {
        let first = self.map_header()?.offset + 8;
        element(record, first.next_multiple_of(record.size()), number)
    }
}

fn element(structure: Structure, first: usize, number: usize) -> Result<Place> {
    let offset = number.checked_mul(structure.size());
    let offset = offset.and_then(|offset| offset.checked_add(first));
    Ok(Place {
        structure,
        offset: offset.context("an element beyond all memory")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit() -> Edit {
        let mut image = vec![0; 4096];
        SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
        SUPER_BLOCK.set(&mut image, "feature_compat", 1);
        SUPER_BLOCK.set(&mut image, "blkszbits", 12);
        SUPER_BLOCK.set(&mut image, "blocks_lo", 1);
        seal(&mut image);
        Edit::open(image).unwrap()
    }

    #[test]
    fn changes_change_something() {
        let mut image = edit();
        assert!(image.set(SUPER_BLOCK, "blocks_lo", 1).is_err());
        assert!(image.set(SUPER_BLOCK, "dirblkbits", 256).is_err());
        assert!(image.set_bits(SUPER_BLOCK, "feature_compat", 3).is_err());
        assert!(image.put(1024, &[0xE2]).is_err());
        assert!(image.put(4096, &[1]).is_err());
        assert!(image.set(SUPER_BLOCK, "inos", 7).is_ok());
        assert_eq!(image.get(SUPER_BLOCK, "inos").unwrap(), 7);
    }

    #[test]
    fn blocks_are_added_and_the_checksum_is_right() {
        let mut image = edit();
        assert_eq!(image.append(b"content").unwrap(), 1);
        assert_eq!(image.append(&[7; 5000]).unwrap(), 2);
        let bytes = image.finish();
        assert!(bytes[4096..].starts_with(b"content"));
        let sb = SuperBlock::read(&bytes[..]).unwrap();
        assert_eq!(sb.size(), 4 * 4096);
    }
}
