// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::features::incompat;
use crate::testing::{field, metabox_nid, Minimal, TestImage, TestInode, CHUNKED, INLINE, PLAIN};
use proptest::prelude::*;
use std::collections::BTreeMap;

const BLOCK: usize = 512;
/// The inode is near the end of block 4, so that its xattrs cross into the next one.
const NID: usize = 4 * 512 / 32 + 12;
const BODY: usize = NID * 32 + 32;
/// The first block of the shared area.
const SHARED: usize = 16;
/// The place of the long prefixes.
const PREFIXES: usize = 24 * 512 + 8;

/// An xattr as a test wants it: `prefix` is the number of a long one.
#[derive(Clone, Debug)]
struct Attr {
    index: u8,
    prefix: Option<u8>,
    name: Vec<u8>,
    value: Vec<u8>,
}

fn attr(index: u8, name: &[u8], value: &[u8]) -> Attr {
    Attr {
        index,
        prefix: None,
        name: name.to_vec(),
        value: value.to_vec(),
    }
}

fn long(prefix: u8, name: &[u8], value: &[u8]) -> Attr {
    Attr {
        prefix: Some(prefix),
        ..attr(0, name, value)
    }
}

impl Attr {
    fn encode(&self) -> Vec<u8> {
        let index = self.prefix.map_or(self.index, |id| id | LONG_PREFIX);
        let mut bytes = vec![u8::try_from(self.name.len()).unwrap(), index];
        bytes.extend(u16::try_from(self.value.len()).unwrap().to_le_bytes());
        bytes.extend(&self.name);
        bytes.extend(&self.value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

/// The xattrs of an inode, from the header on.
fn area(filter: u32, shared: &[u32], own: &[Attr]) -> Vec<u8> {
    let mut bytes = filter.to_le_bytes().to_vec();
    bytes.push(u8::try_from(shared.len()).unwrap());
    bytes.extend([0; 7]);
    for id in shared {
        bytes.extend(id.to_le_bytes());
    }
    bytes.extend(own.iter().flat_map(Attr::encode));
    bytes
}

fn table(prefixes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, infix) in prefixes {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(u16::try_from(infix.len() + 1).unwrap().to_le_bytes());
        bytes.push(*index);
        bytes.extend(*infix);
    }
    bytes
}

struct Fixture {
    image: TestImage,
    /// Nid of the inode with the xattrs.
    nid: u64,
}

/// An image of blocks of 512 bytes and an inode with these bytes as its xattrs.
fn fixture(area: &[u8]) -> Fixture {
    let blocks = 32 + u32::try_from(area.len() / BLOCK).unwrap();
    let mut image = TestImage::new(9, blocks);
    let inode = TestInode {
        xattr_count: count(area),
        ..TestInode::file(PLAIN, 0, 0)
    };
    image
        .put_inode(NID, &inode)
        .put(field::XATTR_BLOCK, &u32::try_from(SHARED).unwrap().to_le_bytes())
        .put(BODY, area);
    Fixture {
        image,
        nid: u64::try_from(NID).unwrap(),
    }
}

fn count(area: &[u8]) -> u16 {
    u16::try_from((area.len() - 8) / 4).unwrap()
}

type Listed = Vec<(u8, Vec<u8>, Vec<u8>)>;

impl Fixture {
    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.image.put(at, bytes);
        self
    }

    fn with_prefixes(&mut self, prefixes: &[(u8, &[u8])]) -> &mut Self {
        let start = u32::try_from(PREFIXES / 4).unwrap();
        self.put(PREFIXES, &table(prefixes))
            .put(field::XATTR_PREFIX_START, &start.to_le_bytes())
            .put(field::XATTR_PREFIX_COUNT, &[u8::try_from(prefixes.len()).unwrap()])
    }

    fn with_filter(&mut self) -> &mut Self {
        self.put(field::FEATURE_COMPAT, &compat::XATTR_FILTER.to_le_bytes())
    }

    /// Calls `f` with everything that a caller has.
    fn run<T>(&self, f: impl Fn(&Xattrs<'_, Minimal<'_>>, &Inode) -> Result<T>) -> Result<T> {
        let image = Minimal(self.image.image());
        let sb = self.image.superblock();
        let inode = Inode::read(&image, &sb, self.nid)?;
        let prefixes = Prefixes::new(&image, &sb).collect::<Result<Vec<_>>>()?;
        f(&Xattrs::new(&image, &sb, &prefixes), &inode)
    }

    fn get(&self, index: u8, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.run(|xattrs, inode| {
            let Some(len) = xattrs.get(inode, index, name, &mut [])? else {
                return Ok(None);
            };
            let mut value = vec![0; len];
            assert_eq!(xattrs.get(inode, index, name, &mut value), Ok(Some(len)));
            Ok(Some(value))
        })
    }

    fn list(&self) -> Result<Listed> {
        self.run(|xattrs, inode| {
            let mut listed = Vec::new();
            let mut list = xattrs.list(inode)?;
            while let Some(entry) = list.next(xattrs)? {
                let mut name = [0; NAME_MAX];
                let name = xattrs.copy_name(&entry, &mut name)?.to_vec();
                assert_eq!(name.len(), entry.name_len);
                let mut value = vec![0; entry.value_len + 1];
                let value = xattrs.copy_value(&entry, &mut value)?.to_vec();
                listed.push((entry.index, name, value));
            }
            Ok(listed)
        })
    }
}

fn found(value: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Some(value.to_vec()))
}

#[test]
fn own_entries_across_blocks() {
    let name = vec![b'n'; 255];
    let value: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let own = [
        attr(INDEX_USER, b"a", b"1"),
        attr(INDEX_USER, &name, b""),
        attr(INDEX_SECURITY, b"a", &value),
        attr(INDEX_TRUSTED, b"end", b"last"),
    ];
    let fixture = fixture(&area(0, &[], &own));
    assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"));
    assert_eq!(fixture.get(INDEX_USER, &name), found(b""));
    assert_eq!(fixture.get(INDEX_SECURITY, b"a"), found(&value));
    assert_eq!(fixture.get(INDEX_TRUSTED, b"end"), found(b"last"));
    for (index, name) in [
        (INDEX_USER, &b"b"[..]),
        (INDEX_USER, b""),
        (INDEX_USER, b"aa"),
        (INDEX_TRUSTED, b"a"),
        (INDEX_USER, &name[1..]),
        (INDEX_USER, &[b'n'; 600]),
        (0, b"a"),
        (0x81, b"a"),
    ] {
        assert_eq!(fixture.get(index, name), Ok(None));
    }
    let expected: Listed = own
        .iter()
        .map(|attr| (attr.index, attr.name.clone(), attr.value.clone()))
        .collect();
    assert_eq!(fixture.list(), Ok(expected));
}

#[test]
fn buffers() {
    let fixture = fixture(&area(0, &[], &[attr(INDEX_USER, b"abc", b"value")]));
    let get = |room: usize| {
        fixture.run(|xattrs, inode| {
            let mut buf = [0xEE; 8];
            let len = xattrs.get(inode, INDEX_USER, b"abc", &mut buf[..room])?;
            Ok((len, buf))
        })
    };
    // Too short: the length alone.
    for room in [0, 1, 4] {
        assert_eq!(get(room), Ok((Some(5), [0xEE; 8])));
    }
    assert_eq!(get(5), Ok((Some(5), *b"value\xEE\xEE\xEE")));
    assert_eq!(get(8), Ok((Some(5), *b"value\xEE\xEE\xEE")));
    let short = fixture.run(|xattrs, inode| {
        let entry = xattrs.find(inode, INDEX_USER, b"abc")?.unwrap();
        let name = xattrs.copy_name(&entry, &mut [0; 2]).map(<[u8]>::to_vec);
        let value = xattrs.copy_value(&entry, &mut [0; 4]).map(<[u8]>::to_vec);
        Ok((name, value))
    });
    assert_eq!(short, Ok((Err(Error::OutOfBounds), Err(Error::OutOfBounds))));
}

#[test]
fn none() {
    let mut fixture = fixture(&area(0, &[], &[]));
    fixture
        .image
        .put_inode(NID, &TestInode::file(PLAIN, 0, 0));
    assert_eq!(fixture.get(INDEX_USER, b"a"), Ok(None));
    assert_eq!(fixture.list(), Ok(Vec::new()));
    let acl = fixture.run(|xattrs, inode| xattrs.may_have_acl(inode));
    assert_eq!(acl, Ok(false));
}

#[test]
fn only_a_header() {
    let fixture = fixture(&area(0, &[], &[]));
    let unsupported = Error::Unsupported("xattrs without room for any");
    assert_eq!(fixture.get(INDEX_USER, b"a"), Err(unsupported));
    assert_eq!(fixture.list(), Err(unsupported));
}

#[test]
fn shared() {
    let shared = |id: u32, attr: Attr| (SHARED * BLOCK + 4 * id as usize, attr.encode());
    let parts = [
        // Across a block; the same name as an own one; behind a hole in the area.
        shared(126, attr(INDEX_USER, b"shared", &[7; 600])),
        shared(400, attr(INDEX_USER, b"a", b"not this")),
        shared(300, attr(INDEX_POSIX_ACL_ACCESS, b"", b"acl")),
    ];
    let mut fixture = fixture(&area(0, &[126, 400, 300], &[attr(INDEX_USER, b"a", b"own")]));
    for (at, bytes) in &parts {
        fixture.put(*at, bytes);
    }
    assert_eq!(fixture.get(INDEX_USER, b"shared"), found(&[7; 600]));
    assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"own"), "own ones first");
    assert_eq!(fixture.get(INDEX_POSIX_ACL_ACCESS, b""), found(b"acl"));
    assert_eq!(fixture.get(INDEX_USER, b"none"), Ok(None));
    let names: Vec<_> = fixture
        .list()
        .unwrap()
        .into_iter()
        .map(|(index, name, _)| (index, name))
        .collect();
    let expected: [(u8, &[u8]); 4] = [
        (INDEX_USER, b"a"),
        (INDEX_USER, b"shared"),
        (INDEX_USER, b"a"),
        (INDEX_POSIX_ACL_ACCESS, b""),
    ];
    assert_eq!(names, expected.map(|(index, name)| (index, name.to_vec())));
}

#[test]
fn shared_only() {
    let mut fixture = fixture(&area(0, &[3], &[]));
    fixture.put(SHARED * BLOCK + 12, &attr(INDEX_USER, b"s", b"1").encode());
    assert_eq!(fixture.get(INDEX_USER, b"s"), found(b"1"));
    assert_eq!(fixture.list().unwrap().len(), 1);
}

#[test]
fn shared_past_the_end() {
    for id in [u32::MAX, 32 * 128 - 16 * 128] {
        let fixture = fixture(&area(0, &[id], &[attr(INDEX_USER, b"a", b"1")]));
        assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"));
        assert_eq!(fixture.get(INDEX_USER, b"b"), Err(Error::OutOfBounds));
        assert_eq!(fixture.list(), Err(Error::OutOfBounds));
    }
    // The entry is there, its value is not.
    let last = 32 * 128 - 16 * 128 - 1;
    let mut fixture = fixture(&area(0, &[last], &[]));
    fixture.put(32 * BLOCK - 4, &[0, INDEX_USER, 1, 0]);
    assert_eq!(fixture.get(INDEX_USER, b"b"), Ok(None));
    let probe = fixture.run(|xattrs, inode| xattrs.get(inode, INDEX_USER, b"", &mut []));
    assert_eq!(probe, Ok(Some(1)));
    assert_eq!(fixture.list(), Err(Error::OutOfBounds));
}

#[test]
fn too_many_shared() {
    let mut bytes = area(0, &[0, 0], &[attr(INDEX_USER, b"", b"")]);
    let corrupt = Error::Corrupt("more shared xattrs than room for them");
    for (count, ok) in [(2, true), (3, true), (4, false), (255, false)] {
        bytes[4] = count;
        let fixture = fixture(&bytes);
        assert_eq!(fixture.list().is_ok(), ok, "{count}");
        if !ok {
            assert_eq!(fixture.list(), Err(corrupt));
            assert_eq!(fixture.get(INDEX_USER, b"a"), Err(corrupt));
        }
    }
}

#[test]
fn entry_beyond_its_inode() {
    let corrupt = Error::Corrupt("xattr that does not fit into its inode");
    let good = area(0, &[], &[attr(INDEX_USER, b"a", b"1"), attr(INDEX_USER, b"b", b"234")]);
    for (at, value) in [(20, 2), (22, 4), (23, 1)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let fixture = fixture(&bytes);
        assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"), "found before it");
        assert_eq!(fixture.get(INDEX_USER, b"b"), Err(corrupt));
        assert_eq!(fixture.list(), Err(corrupt));
    }
}

#[test]
fn filter() {
    let own = [attr(INDEX_USER, b"a", b"1"), attr(INDEX_USER, b"b", b"2")];
    let bit = filter_bit(INDEX_USER, b"a");
    assert_eq!(bit.count_ones(), 1);
    assert_ne!(bit, filter_bit(INDEX_USER, b"b"));
    let mut fixture = fixture(&area(bit, &[], &own));
    assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"), "no such feature");
    fixture.with_filter();
    assert_eq!(fixture.get(INDEX_USER, b"a"), Ok(None));
    assert_eq!(fixture.get(INDEX_USER, b"b"), found(b"2"));
    assert_eq!(fixture.list().unwrap().len(), 2, "lists are not filtered");
    fixture.put(field::XATTR_FILTER_RESERVED, &[1]);
    assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"), "another kind of filter");
}

#[test]
fn acls() {
    // The two bits that Linux has as constants.
    assert_eq!(filter_bit(INDEX_POSIX_ACL_ACCESS, b""), 1 << 30);
    assert_eq!(filter_bit(INDEX_POSIX_ACL_DEFAULT, b""), 1 << 21);
    let may = |filter| {
        let mut fixture = fixture(&area(filter, &[], &[attr(INDEX_USER, b"a", b"1")]));
        fixture.with_filter();
        fixture.run(|xattrs, inode| xattrs.may_have_acl(inode))
    };
    assert_eq!(may(1 << 30 | 1 << 21), Ok(false));
    assert_eq!(may(1 << 30), Ok(true));
    assert_eq!(may(1 << 21), Ok(true));
    assert_eq!(may(!0), Ok(false));
    let unfiltered = fixture(&area(!0, &[], &[]));
    let acl = unfiltered.run(|xattrs, inode| xattrs.may_have_acl(inode));
    assert_eq!(acl, Ok(true));
}

const LONG: [(u8, &[u8]); 4] = [
    (INDEX_TRUSTED, b"overlay."),
    (INDEX_USER, b""),
    (INDEX_USER, &[b'i'; 255]),
    (99, b"x"),
];

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
    assert_eq!(indexes, [4, 1, 1, 1, 99, 4], "without those of unknown prefixes");
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
        assert_eq!(Prefixes::new(fixture.image.image(), &sb).size_hint().1, Some(2));
        read.into_iter().map(|prefix| prefix.map(|_| ())).collect::<Vec<_>>()
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
            image.set_metabox(METABOX as u64);
        }
        if packed {
            image
                .enable(incompat::FRAGMENTS)
                .put(field::PACKED_NID, &(PACKED as u64).to_le_bytes());
        }
        if plain {
            let bits = compat::PLAIN_XATTR_PREFIXES;
            image.put(field::FEATURE_COMPAT, &bits.to_le_bytes());
        }
        let name = format!("{place}.z").into_bytes();
        assert_eq!(fixture.list(), Ok(vec![(INDEX_USER, name.clone(), Vec::new())]));
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

#[test]
fn in_the_metabox() {
    const METABOX: usize = 8 * 512 / 32;
    let inode = TestInode {
        xattr_count: 0,
        ..TestInode::file(INLINE, 3, 0)
    };
    let own = [attr(INDEX_USER, b"own", &[5; 700]), attr(INDEX_USER, b"b", b"2")];
    for shared_inside in [false, true] {
        let area = area(0, &[250], &own);
        let mut fixture = fixture(&area);
        let inode = TestInode {
            xattr_count: count(&area),
            ..inode
        };
        // Backwards in the image: the xattrs are in pieces. Shared ones are in block 16 of each.
        let map: Vec<u8> = (0..20_u32).flat_map(|n| (51 - n).to_le_bytes()).collect();
        let image = &mut fixture.image;
        image.bytes.resize(52 * BLOCK, 0);
        image
            .put_inode(METABOX, &TestInode::file(CHUNKED, 20 * 512, 0))
            .put(METABOX * 32 + 32, &map)
            .set_metabox(METABOX as u64);
        let mut put = |offset: usize, bytes: &[u8]| {
            for (at, byte) in (offset..).zip(bytes) {
                image.bytes[(51 - at / BLOCK) * BLOCK + at % BLOCK] = *byte;
            }
        };
        put(2 * 512 - 64, &inode.encode());
        put(2 * 512 - 32, &area);
        put(SHARED * BLOCK + 1000, &attr(INDEX_USER, b"s", b"inside").encode());
        image.put(SHARED * BLOCK + 1000, &attr(INDEX_USER, b"s", b"image").encode());
        if shared_inside {
            let bits = compat::SHARED_XATTRS_IN_METABOX;
            image.put(field::FEATURE_COMPAT, &bits.to_le_bytes());
        }
        fixture.nid = metabox_nid(2 * 512 - 64);
        assert_eq!(fixture.get(INDEX_USER, b"own"), found(&[5; 700]));
        assert_eq!(fixture.get(INDEX_USER, b"b"), found(b"2"));
        let shared = if shared_inside { &b"inside"[..] } else { b"image" };
        assert_eq!(fixture.get(INDEX_USER, b"s"), found(shared));
        let acl = fixture.run(|xattrs, inode| xattrs.may_have_acl(inode));
        assert_eq!(acl, Ok(true));
    }
}

#[test]
fn shared_in_a_metabox_that_is_not_there() {
    let mut fixture = fixture(&area(0, &[3], &[attr(INDEX_USER, b"a", b"1")]));
    let bits = compat::SHARED_XATTRS_IN_METABOX;
    fixture.put(field::FEATURE_COMPAT, &bits.to_le_bytes());
    assert_eq!(fixture.get(INDEX_USER, b"a"), found(b"1"));
    let missing = fixture.get(INDEX_USER, b"b");
    assert!(matches!(missing, Err(Error::Corrupt(_))));
}

/// A few names, so that they meet often.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "[ab]{1,3}".prop_map(String::into_bytes),
        "overlay\\.[ab]{0,2}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..=255),
    ]
}

fn attrs() -> impl Strategy<Value = Vec<Attr>> {
    let prefix = prop_oneof![3 => Just(None), 2 => (0_u8..6).prop_map(Some)];
    let value = prop::collection::vec(any::<u8>(), 0..90);
    let attr = (0_u8..8, prefix, name(), value);
    let attr = attr.prop_map(|(index, prefix, name, value)| Attr {
        index,
        prefix,
        name,
        value,
    });
    prop::collection::vec(attr, 0..20)
}

proptest! {
    /// The xattrs of an inode are a list of own and shared ones; the first of a name counts.
    #[test]
    fn model(
        own in attrs(),
        shared in attrs(),
        others in prop::collection::vec((0_u8..8, name()), 10),
        has_filter in any::<bool>(),
    ) {
        let mut model = Vec::new();
        for attr in own.iter().chain(&shared) {
            let (index, infix) = match attr.prefix {
                None => (attr.index, &b""[..]),
                Some(id) => match LONG.get(usize::from(id)) {
                    Some((index, infix)) => (*index, *infix),
                    None => continue,
                },
            };
            let name = [infix, &attr.name].concat();
            model.push((index, name, attr.value.clone()));
        }
        let mut first = BTreeMap::new();
        let mut filter = !0;
        for (index, name, value) in &model {
            first.entry((*index, name.clone())).or_insert(value.clone());
            filter &= !filter_bit(*index, name);
        }
        if own.is_empty() && shared.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut ids = Vec::new();
        for attr in &shared {
            ids.push(u32::try_from(bytes.len() / 4).unwrap());
            bytes.extend(attr.encode());
        }
        let mut fixture = fixture(&area(filter, &ids, &own));
        let shared_block = u32::try_from(fixture.image.bytes.len() / BLOCK).unwrap();
        fixture.put(field::XATTR_BLOCK, &shared_block.to_le_bytes());
        fixture.image.bytes.extend(bytes);
        let moved = u32::try_from(fixture.image.bytes.len().next_multiple_of(4) / 4).unwrap();
        fixture.image.bytes.resize(4 * moved as usize, 0);
        fixture.image.bytes.extend(table(&LONG));
        fixture
            .put(field::XATTR_PREFIX_START, &moved.to_le_bytes())
            .put(field::XATTR_PREFIX_COUNT, &[4]);
        if has_filter {
            fixture.with_filter();
        }

        prop_assert_eq!(fixture.list(), Ok(model.clone()));
        for ((index, name), value) in &first {
            prop_assert_eq!(fixture.get(*index, name), found(value));
        }
        for (index, name) in others {
            let expected = first.get(&(index, name.clone())).cloned();
            prop_assert_eq!(fixture.get(index, &name), Ok(expected));
        }
    }

    /// Any bytes: names and values are no longer than an entry can say, and lists end.
    #[test]
    fn hostile(
        bytes in prop::collection::vec(any::<u8>(), 12..2000),
        start in prop::collection::vec(any::<u8>(), 0..6),
        count in any::<u16>(),
        prefixes in prop::collection::vec(any::<u8>(), 0..300),
        features in any::<u8>(),
    ) {
        let mut bytes = bytes;
        for (to, from) in bytes.iter_mut().zip(start) {
            *to = from;
        }
        let mut fixture = fixture(&bytes);
        let inode = TestInode {
            xattr_count: count % 2000,
            ..TestInode::file(PLAIN, 0, 0)
        };
        fixture.image.put_inode(NID, &inode);
        fixture.with_prefixes(&LONG).put(PREFIXES + 8, &prefixes);
        fixture.put(field::FEATURE_COMPAT, &[features & 0x1E]);
        let image = fixture.image.image();
        let sb = fixture.image.superblock();
        let inode = Inode::read(image, &sb, fixture.nid).unwrap();
        let prefixes: Vec<_> = Prefixes::new(image, &sb).map_while(Result::ok).collect();
        prop_assert!(prefixes.len() <= 4);
        let xattrs = Xattrs::new(image, &sb, &prefixes);
        let mut entries = 0;
        if let Ok(mut list) = xattrs.list(&inode) {
            let mut value = vec![0; 1 << 16];
            let mut name = [0; NAME_MAX];
            for _ in 0..3000 {
                match list.next(&xattrs) {
                    Ok(None) => break,
                    Ok(Some(entry)) => {
                        entries += 1;
                        prop_assert!(entry.name_len <= NAME_MAX && entry.value_len < 1 << 16);
                        let _ = xattrs.copy_name(&entry, &mut name);
                        let _ = xattrs.copy_value(&entry, &mut value);
                    }
                    Err(_) => break,
                }
            }
        }
        prop_assert!(entries <= usize::from(count % 2000) + 255);
        let _ = xattrs.may_have_acl(&inode);
        for index in 0..8 {
            let _ = xattrs.get(&inode, index, b"", &mut []);
            let _ = xattrs.get(&inode, index, b"overlay.a", &mut [0; 100]);
        }
    }
}
