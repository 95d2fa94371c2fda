// SPDX-License-Identifier: GPL-2.0

//! Long prefixes.

use super::*;
use crate::features::incompat;

#[test]
fn long_prefixes() {
    let own = [
        long(0, b"opaque", b"y"),
        long(1, b"whole", b"1"),
        long(2, &[b'n'; 255], b"2"),
        long(2, b"", b"3"),
        long(3, b"z", b"4"),
        long(4, b"unknown", b"5"),
        long(127, b"unknown", b"6"),
        attr(INDEX_TRUSTED, b"overlay.short", b"7"),
    ];
    let mut fixture = fixture(&area(0, &[], &own));
    fixture.with_prefixes(&LONG);
    let longest = [[b'i'; 255], [b'n'; 255]].concat();
    assert_eq!(longest.len(), NAME_MAX);
    assert_eq!(fixture.get(INDEX_TRUSTED, b"overlay.opaque"), found(b"y"));
    assert_eq!(fixture.get(INDEX_USER, b"whole"), found(b"1"));
    assert_eq!(fixture.get(INDEX_USER, &longest), found(b"2"));
    assert_eq!(fixture.get(INDEX_USER, &[b'i'; 255]), found(b"3"));
    assert_eq!(fixture.get(99, b"xz"), found(b"4"));
    assert_eq!(fixture.get(INDEX_TRUSTED, b"overlay.short"), found(b"7"));
    for (index, name) in [
        (INDEX_USER, &b"overlay.opaque"[..]),
        (INDEX_TRUSTED, b"opaque"),
        (INDEX_TRUSTED, b"overlay!opaque"),
        (INDEX_TRUSTED, b"overlay.opaquE"),
        (INDEX_USER, b"unknown"),
        (0x80, b"opaque"),
    ] {
        assert_eq!(fixture.get(index, name), Ok(None));
    }
    let listed = fixture.list().unwrap();
    let indexes: Vec<_> = listed.iter().map(|(index, ..)| *index).collect();
    assert_eq!(
        indexes,
        [4, 1, 1, 1, 99, 4],
        "without those of unknown prefixes"
    );
    assert_eq!(listed[0].1, b"overlay.opaque");
    assert_eq!(listed[2].1, longest);
}

/// The filter has the name with its infix, and the index of the prefix.
#[test]
fn long_prefixes_and_filter() {
    let own = [long(0, b"opaque", b"y")];
    for (bit, there) in [
        (filter_bit(INDEX_TRUSTED, b"overlay.opaque"), false),
        (filter_bit(INDEX_TRUSTED, b"opaque"), true),
        (filter_bit(0x80, b"opaque"), true),
    ] {
        let mut fixture = fixture(&area(bit, &[], &own));
        fixture.with_prefixes(&LONG).with_filter();
        let got = fixture.get(INDEX_TRUSTED, b"overlay.opaque").unwrap();
        assert_eq!(got.is_some(), there);
    }
}

#[test]
fn bad_prefixes() {
    let read = |fixture: &Fixture| {
        let sb = fixture.image.superblock();
        let read: Vec<_> = Prefixes::new(fixture.image.image(), &sb).collect();
        assert_eq!(
            Prefixes::new(fixture.image.image(), &sb).size_hint().1,
            Some(2)
        );
        read.into_iter()
            .map(|prefix| prefix.map(|_| ()))
            .collect::<Vec<_>>()
    };
    let wrong = Err(Error::Corrupt("xattr prefix of a wrong length"));
    let mut fixture = fixture(&area(0, &[], &[]));
    fixture.with_prefixes(&LONG[..2]);
    assert_eq!(read(&fixture), [Ok(()), Ok(())]);
    for len in [257_u16, 0x400] {
        fixture.put(PREFIXES, &len.to_le_bytes());
        assert_eq!(read(&fixture), [wrong], "nothing after an error");
    }
    // 65536 bytes.
    fixture.put(PREFIXES, &[0, 0]);
    assert_eq!(read(&fixture), [Err(Error::OutOfBounds)]);
    fixture.put(field::XATTR_PREFIX_START, &[0xFF; 4]);
    assert_eq!(read(&fixture), [Err(Error::OutOfBounds)]);
}

/// Where long prefixes are, as the features say: (metabox, packed inode, plain) to the place.
#[test]
fn places_of_prefixes() {
    const METABOX: usize = 8 * 512 / 32;
    const PACKED: usize = METABOX + 1;
    for (metabox, packed, plain, place) in [
        (false, false, false, "image"),
        (true, false, false, "metabox"),
        (false, true, false, "packed"),
        (true, true, false, "metabox"),
        (true, true, true, "image"),
        (false, true, true, "image"),
    ] {
        let mut fixture = fixture(&area(0, &[], &[long(0, b"z", b"")]));
        fixture.with_prefixes(&[(INDEX_USER, b"image.")]);
        fixture.put(field::XATTR_PREFIX_START, &[16, 0, 0, 0]);
        fixture.put(64, &table(&[(INDEX_USER, b"image.")]));
        let image = &mut fixture.image;
        image
            .put_inode(METABOX, &TestInode::file(PLAIN, 512, 9))
            .put_inode(PACKED, &TestInode::file(PLAIN, 512, 10))
            .put(9 * BLOCK + 64, &table(&[(INDEX_USER, b"metabox.")]))
            .put(10 * BLOCK + 64, &table(&[(INDEX_USER, b"packed.")]));
        if metabox {
            image.set_metabox(to_u64(METABOX));
        }
        if packed {
            image
                .enable(incompat::FRAGMENTS)
                .put(field::PACKED_NID, &to_u64(PACKED).to_le_bytes());
        }
        if plain {
            let bits = compat::PLAIN_XATTR_PREFIXES;
            image.put(field::FEATURE_COMPAT, &bits.to_le_bytes());
        }
        let name = format!("{place}.z").into_bytes();
        assert_eq!(
            fixture.list(),
            Ok(vec![(INDEX_USER, name.clone(), Vec::new())])
        );
        assert_eq!(fixture.get(INDEX_USER, &name), found(b""));
    }
}

#[test]
fn prefixes_in_a_compressed_inode() {
    let mut fixture = fixture(&area(0, &[], &[]));
    fixture.with_prefixes(&LONG);
    fixture
        .image
        .enable(incompat::FRAGMENTS | incompat::LZ4_ZERO_PADDING)
        .put_inode(128, &TestInode::file(3, 9999, 9))
        .put(field::PACKED_NID, &128_u64.to_le_bytes())
        .put(field::XATTR_PREFIX_START, &[0; 4]);
    let unsupported = Err(Error::Unsupported("compressed data"));
    assert_eq!(fixture.list(), unsupported);
}
