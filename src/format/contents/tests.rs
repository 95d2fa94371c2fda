// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::dir::{lookup, Cursor, NAME_MAX};
use crate::flat::Extent;
use crate::testing::{field, metabox_nid, TestImage, TestInode, CHUNKED, INLINE, PLAIN};
use crate::xattr::{self, Xattrs};
use crate::Error;
use proptest::prelude::*;

const BLOCK: usize = 512;
/// Where the metabox inode is, in block 4 of 16.
const METABOX: usize = 4 * 512 / 32;

/// How the metabox is stored.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    /// Its last block follows its inode.
    Inline,
    /// Its blocks are in the image backwards.
    Chunked,
}

const FORMS: [Form; 3] = [Form::Plain, Form::Inline, Form::Chunked];

/// An image of blocks of 512 bytes whose metabox has these bytes.
fn image(form: Form, bytes: &[u8]) -> TestImage {
    let blocks = bytes.len().div_ceil(BLOCK);
    let mut image = TestImage::new(9, 16 + u32::try_from(blocks).unwrap());
    let size = u64::try_from(bytes.len()).unwrap();
    match form {
        Form::Plain => {
            image.put_inode(METABOX, &TestInode::file(PLAIN, size, 16));
            image.put(16 * BLOCK, bytes);
        }
        Form::Inline => {
            // The tail fits behind the inode only if it is at the end of a block.
            let at = METABOX + 15;
            image.put_inode(at, &TestInode::file(INLINE, size, 16));
            let tail = bytes.len().saturating_sub(1) / BLOCK * BLOCK;
            image.put(16 * BLOCK, &bytes[..tail]);
            image.put(at * 32 + 32, &bytes[tail..]);
            image.set_metabox(u64::try_from(at).unwrap());
            return image;
        }
        Form::Chunked => {
            image.put_inode(METABOX, &TestInode::file(CHUNKED, size, 0));
            for (index, block) in bytes.chunks(BLOCK).enumerate() {
                let number = 16 + blocks - 1 - index;
                let map = METABOX * 32 + 32 + 4 * index;
                image.put(map, &u32::try_from(number).unwrap().to_le_bytes());
                image.put(number * BLOCK, block);
            }
        }
    }
    image.set_metabox(u64::try_from(METABOX).unwrap());
    image
}

/// What a metabox has: inodes and the bytes behind them, by their offsets.
fn metabox(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (offset, part) in parts {
        bytes[*offset..][..<[u8]>::len(part)].copy_from_slice(part);
    }
    bytes
}

#[test]
fn inline_data() {
    let file = TestInode::file(INLINE, 5, 0).encode();
    let bytes = metabox(1200, &[(1024, &file), (1056, b"hello")]);
    for form in FORMS {
        let image = image(form, &bytes);
        let sb = image.superblock();
        let inode = Inode::read(image.image(), &sb, metabox_nid(1024)).unwrap();
        assert!(inode.in_metabox());
        let mut buf = [0; 9];
        let read = inode.read_data(image.image(), &sb, 1, &mut buf);
        assert_eq!((read, &buf[..4]), (Ok(4), &b"ello"[..]), "{form:?}");
        let extent = inode.extent_at(image.image(), &sb, 1);
        let Ok(Extent::Data {
            device: 0,
            offset,
            len: 4,
        }) = extent
        else {
            panic!("{extent:?}");
        };
        let found: [u8; 4] = image.image().read(offset).unwrap();
        assert_eq!(&found, b"ello");
    }
}

/// The metabox ends in the middle of a directory: its listing ends too, with an error.
#[test]
fn directory_past_the_end() {
    let dir = TestInode::dir(INLINE, 100, 0).encode();
    // A dirent, where the names start, and as much of a name as there is room for.
    let dirent = [7, 0, 0, 0, 0, 0, 0, 0, 12, 0, 1, 0, b'n', b'a'];
    let bytes = metabox(1056 + 14, &[(1024, &dir), (1056, &dirent)]);
    for form in FORMS {
        let image = image(form, &bytes);
        let sb = image.superblock();
        let dir = Inode::read(image.image(), &sb, metabox_nid(1024)).unwrap();
        for pos in [0, 1, 14, 99] {
            let next = Cursor::new(pos).advance(image.image(), &sb, &dir);
            assert_eq!(next, Err(Error::OutOfBounds), "{form:?} {pos}");
        }
        let found = lookup(image.image(), &sb, &dir, b"na");
        assert_eq!(found, Err(Error::OutOfBounds), "{form:?}");
    }
}

#[test]
fn extended_across_blocks() {
    let file = TestInode::file(PLAIN, 700, 3).extended().encode();
    let bytes = metabox(1200, &[(512 - 32, &file)]);
    for form in FORMS {
        let image = image(form, &bytes);
        let sb = image.superblock();
        let inode = Inode::read(image.image(), &sb, metabox_nid(480)).unwrap();
        assert_eq!((inode.size, inode.start_block()), (700, Some(3)));
        let extent = inode.extent_at(image.image(), &sb, 600);
        assert_eq!(
            extent,
            Ok(Extent::Data {
                device: 0,
                offset: 3 * 512 + 600,
                len: 100,
            })
        );
    }
}

/// A tail must not cross a block of the metabox, wherever these blocks are.
#[test]
fn tail_across_blocks() {
    let bytes = |size| {
        let file = TestInode::file(INLINE, size, 0).encode();
        metabox(1200, &[(384, &file)])
    };
    for form in FORMS {
        for (size, fits) in [(96, true), (97, false)] {
            let image = image(form, &bytes(size));
            let sb = image.superblock();
            let inode = Inode::read(image.image(), &sb, metabox_nid(384)).unwrap();
            assert_eq!(inode.inline_tail(&sb).is_ok(), fits);
            let extent = inode.extent_at(image.image(), &sb, 0);
            assert_eq!(extent.is_ok(), fits);
        }
    }
}

#[test]
fn chunk_addresses() {
    let file = TestInode::file(CHUNKED, 130 * 512, 0).encode();
    let map: Vec<u8> = (0..130_u32)
        .flat_map(|index| ((index * 7) % 16).to_le_bytes())
        .collect();
    let bytes = metabox(1200, &[(416, &file), (448, &map)]);
    for form in FORMS {
        let image = image(form, &bytes);
        let sb = image.superblock();
        let inode = Inode::read(image.image(), &sb, metabox_nid(416)).unwrap();
        for index in 0..130 {
            let extent = inode.extent_at(image.image(), &sb, index * 512);
            assert_eq!(
                extent,
                Ok(Extent::Data {
                    device: 0,
                    offset: (index * 7) % 16 * 512,
                    len: 512,
                })
            );
        }
    }
}

#[test]
fn directory() {
    let dir = TestInode::dir(INLINE, 14 + 13, 0).encode();
    let mut dirents = Vec::new();
    for (nid, nameoff, file_type) in [(metabox_nid(32), 24_u16, 1_u8), (7, 26, 2)] {
        dirents.extend(nid.to_le_bytes());
        dirents.extend(nameoff.to_le_bytes());
        dirents.extend([file_type, 0]);
    }
    dirents.extend(b"abz");
    let bytes = metabox(1200, &[(512, &dir), (544, &dirents)]);
    for form in FORMS {
        let mut image = image(form, &bytes);
        image
            .enable(1 << 7)
            .put(field::WIDE_ROOT_NID, &metabox_nid(512).to_le_bytes());
        let sb = image.superblock();
        let root = Inode::read(image.image(), &sb, sb.root_nid()).unwrap();
        let found = lookup(image.image(), &sb, &root, b"ab");
        assert_eq!(found.unwrap().unwrap().nid, metabox_nid(32));
        let mut cursor = Cursor::new(0);
        let mut names = Vec::new();
        let mut buf = [0; NAME_MAX];
        while let Some(entry) = cursor.next(image.image(), &sb, &root, &mut buf).unwrap() {
            names.push((entry.name.to_vec(), sb.inode_number(entry.nid)));
        }
        assert_eq!(names, [(b"ab".to_vec(), (1 << 31) + 1), (b"z".to_vec(), 7)]);
    }
}

#[test]
fn past_the_end_or_in_a_hole() {
    let file = TestInode::file(INLINE, 20, 0).encode();
    let bytes = metabox(1034, &[(992, &file)]);
    for form in FORMS {
        let image = image(form, &bytes);
        let sb = image.superblock();
        let read = |offset| Inode::read(image.image(), &sb, metabox_nid(offset));
        assert_eq!(read(1024), Err(Error::OutOfBounds));
        assert_eq!(read(1 << 40), Err(Error::OutOfBounds));
        let impossible = Inode::read(image.image(), &sb, u64::MAX);
        assert!(matches!(impossible, Err(Error::Corrupt(_))));
        assert!(matches!(read(0), Err(Error::Corrupt(_))), "no mode");
        let inode = read(992).unwrap();
        let mut buf = [1; 20];
        let read = inode.read_data(image.image(), &sb, 0, &mut buf);
        assert_eq!(read, Err(Error::OutOfBounds));
        let read = inode.read_data(image.image(), &sb, 0, &mut buf[..10]);
        assert_eq!(read, Ok(10));
    }
    // Holes of the metabox are zeros like others.
    let mut image = image(Form::Chunked, &metabox(1100, &[(480, &file)]));
    image.put(METABOX * 32 + 36, &[0xFF; 4]);
    let sb = image.superblock();
    let inode = Inode::read(image.image(), &sb, metabox_nid(480)).unwrap();
    let extent = inode.extent_at(image.image(), &sb, 3);
    assert_eq!(extent, Ok(Extent::Hole { len: 17 }));
    let mut dir = inode;
    dir.size = 12;
    let found = lookup(image.image(), &sb, &dir, b"a");
    assert_eq!(found, Err(Error::Corrupt("directory with a hole")));
}

#[test]
fn no_metabox() {
    let image = TestImage::new(9, 16);
    let sb = image.superblock();
    let error = Inode::read(image.image(), &sb, metabox_nid(0)).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)));
}

/// An inode with xattrs and inline data, in a metadata area or a metabox alike.
fn metadata() -> impl Strategy<Value = Vec<u8>> {
    let xattrs = prop::collection::vec((0_u8..8, 0_usize..4, 0_usize..40), 0..12);
    (any::<bool>(), xattrs, 0_u64..300, 0_u32..8, 0_usize..12).prop_map(
        |(extended, xattrs, size, block, slot)| {
            let mut area = vec![0; 12];
            for (index, name, value) in xattrs {
                area.extend([u8::try_from(name).unwrap(), index]);
                area.extend(u16::try_from(value).unwrap().to_le_bytes());
                area.extend(vec![b'n'; name]);
                area.extend((1..100).take(value));
                area.resize(area.len().next_multiple_of(4), 0);
            }
            let mut inode = TestInode::file(INLINE, size, block);
            inode.xattr_count = u16::try_from((area.len() - 8) / 4).unwrap();
            if extended {
                inode = inode.extended();
            }
            let mut bytes = vec![0; slot * 32];
            bytes.extend(inode.encode());
            bytes.extend(area);
            bytes.extend((100..=250).cycle().take(usize::try_from(size).unwrap()));
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            bytes[..slot * 32].fill(0xEE);
            bytes
        },
    )
}

#[cfg(not(miri))]
proptest! {
    /// Metadata is the same in the metabox and in the metadata zone, right or wrong.
    #[test]
    fn like_the_metadata_zone(
        bytes in metadata(),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        form in prop::sample::select(&FORMS[..]),
    ) {
        let mut bytes = bytes;
        let slot = bytes.chunks(32).position(|slot| slot[0] != 0xEE).unwrap();
        if let Some((index, value)) = change {
            // The first block of data stays, so that it is in the part that both images have.
            let place = slot * 32 + 64 + index.index(bytes.len() - slot * 32 - 64);
            bytes[place] = value;
        }
        let inside = image(form, &bytes);
        let mut zone = TestImage::new(9, 16 + u32::try_from(bytes.len() / BLOCK).unwrap());
        zone.put(field::META_BLOCK, &16_u32.to_le_bytes()).put(16 * BLOCK, &bytes);

        let facts = |image: &TestImage, nid: u64| {
            let sb = image.superblock();
            let image = image.image();
            let inode = Inode::read(image, &sb, nid)?;
            let mut data = vec![0; 700];
            let read = inode.read_data(image, &sb, 0, &mut data);
            let xattrs = Xattrs::new(image, &sb, &[]);
            let mut listed = Vec::new();
            let mut list = xattrs.list(&inode);
            while let Ok(Some(entry)) = list.as_mut().map_or(Ok(None), |list| list.next(&xattrs)) {
                let mut name = [0; xattr::NAME_MAX];
                let name = xattrs.copy_name(&entry, &mut name).map(<[u8]>::to_vec);
                let mut value = vec![0; entry.value_len];
                let got = name.clone().and_then(|name| xattrs.get(&inode, entry.index, &name, &mut value));
                listed.push((entry.index, name, got, value));
            }
            Ok::<_, Error>((inode.mode, inode.size, inode.xattr_size(), read, data, listed, list.is_ok()))
        };
        let nid = u64::try_from(slot).unwrap();
        let (one, other) = (facts(&inside, nid | (1 << 63)), facts(&zone, nid));
        // Data in blocks of the image can be behind its metadata, which only one of them has there.
        prop_assert_eq!(one, other);
    }

    /// Any bytes in the metabox inode and what it has: everything ends, whatever that is.
    #[test]
    fn hostile(
        bytes in metadata(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        form in prop::sample::select(&FORMS[..]),
    ) {
        let mut image = image(form, &bytes);
        let start = METABOX * 32;
        for (index, value) in changes {
            let place = start + index.index(image.bytes.len() - start);
            image.bytes[place] = value;
        }
        let Ok(sb) = SuperBlock::read(image.image()) else {
            return Ok(());
        };
        let image = image.image();
        for slot in 0..bytes.len() / 32 {
            let nid = metabox_nid(to_u64(slot) * 32);
            let Ok(inode) = Inode::read(image, &sb, nid) else {
                continue;
            };
            let _ = inode.read_data(image, &sb, inode.size / 2, &mut [0; 2000]);
            let _ = lookup(image, &sb, &inode, b"name");
            let _ = Cursor::new(0).next(image, &sb, &inode, &mut [0; NAME_MAX]);
            let _ = Xattrs::new(image, &sb, &[]).get(&inode, 1, b"n", &mut [0; 50]);
        }
    }
}
