// SPDX-License-Identifier: GPL-2.0

mod prefixes;
#[cfg(not(miri))]
mod properties;

use super::*;
use crate::testing::{field, metabox_nid, Minimal, TestImage, TestInode, CHUNKED, INLINE, PLAIN};

const BLOCK: usize = 512;
/// The inode is near the end of block 4, so that its xattrs cross into the next one.
const NID: usize = 4 * 512 / 32 + 12;
const BODY: usize = NID * 32 + 32;
/// The first block of the shared area.
const SHARED: usize = 16;
/// The place of the long prefixes.
const PREFIXES: usize = 24 * 512 + 8;

/// Long prefixes.
const LONG: [(u8, &[u8]); 4] = [
    (INDEX_TRUSTED, b"overlay."),
    (INDEX_USER, b""),
    (INDEX_USER, &[b'i'; 255]),
    (99, b"x"),
];

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
        .put(
            field::XATTR_BLOCK,
            &u32::try_from(SHARED).unwrap().to_le_bytes(),
        )
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
            .put(
                field::XATTR_PREFIX_COUNT,
                &[u8::try_from(prefixes.len()).unwrap()],
            )
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
    assert_eq!(
        short,
        Ok((Err(Error::OutOfBounds), Err(Error::OutOfBounds)))
    );
}

#[test]
fn none() {
    let mut fixture = fixture(&area(0, &[], &[]));
    fixture.image.put_inode(NID, &TestInode::file(PLAIN, 0, 0));
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
    let shared = |id: usize, attr: Attr| (SHARED * BLOCK + 4 * id, attr.encode());
    let parts = [
        // Across a block; the same name as an own one; behind a hole in the area.
        shared(126, attr(INDEX_USER, b"shared", &[7; 600])),
        shared(400, attr(INDEX_USER, b"a", b"not this")),
        shared(300, attr(INDEX_POSIX_ACL_ACCESS, b"", b"acl")),
    ];
    let mut fixture = fixture(&area(
        0,
        &[126, 400, 300],
        &[attr(INDEX_USER, b"a", b"own")],
    ));
    for (at, bytes) in &parts {
        fixture.put(*at, bytes);
    }
    assert_eq!(fixture.get(INDEX_USER, b"shared"), found(&[7; 600]));
    assert_eq!(
        fixture.get(INDEX_USER, b"a"),
        found(b"own"),
        "own ones first"
    );
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
    let good = area(
        0,
        &[],
        &[attr(INDEX_USER, b"a", b"1"), attr(INDEX_USER, b"b", b"234")],
    );
    for (at, value) in [(20, 2), (22, 4), (23, 1)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let fixture = fixture(&bytes);
        assert_eq!(
            fixture.get(INDEX_USER, b"a"),
            found(b"1"),
            "found before it"
        );
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
    assert_eq!(
        fixture.get(INDEX_USER, b"a"),
        found(b"1"),
        "no such feature"
    );
    fixture.with_filter();
    assert_eq!(fixture.get(INDEX_USER, b"a"), Ok(None));
    assert_eq!(fixture.get(INDEX_USER, b"b"), found(b"2"));
    assert_eq!(fixture.list().unwrap().len(), 2, "lists are not filtered");
    fixture.put(field::XATTR_FILTER_RESERVED, &[1]);
    assert_eq!(
        fixture.get(INDEX_USER, b"a"),
        found(b"1"),
        "another kind of filter"
    );
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
    assert_eq!(may((1 << 30) | (1 << 21)), Ok(false));
    assert_eq!(may(1 << 30), Ok(true));
    assert_eq!(may(1 << 21), Ok(true));
    assert_eq!(may(!0), Ok(false));
    let unfiltered = fixture(&area(!0, &[], &[]));
    let acl = unfiltered.run(|xattrs, inode| xattrs.may_have_acl(inode));
    assert_eq!(acl, Ok(true));
}

#[test]
fn in_the_metabox() {
    const METABOX: usize = 8 * 512 / 32;
    let inode = TestInode {
        xattr_count: 0,
        ..TestInode::file(INLINE, 3, 0)
    };
    let own = [
        attr(INDEX_USER, b"own", &[5; 700]),
        attr(INDEX_USER, b"b", b"2"),
    ];
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
            .set_metabox(to_u64(METABOX));
        let mut put = |offset: usize, bytes: &[u8]| {
            for (at, byte) in (offset..).zip(bytes) {
                image.bytes[(51 - at / BLOCK) * BLOCK + at % BLOCK] = *byte;
            }
        };
        put(2 * 512 - 64, &inode.encode());
        put(2 * 512 - 32, &area);
        put(
            SHARED * BLOCK + 1000,
            &attr(INDEX_USER, b"s", b"inside").encode(),
        );
        image.put(
            SHARED * BLOCK + 1000,
            &attr(INDEX_USER, b"s", b"image").encode(),
        );
        if shared_inside {
            let bits = compat::SHARED_XATTRS_IN_METABOX;
            image.put(field::FEATURE_COMPAT, &bits.to_le_bytes());
        }
        fixture.nid = metabox_nid(2 * 512 - 64);
        assert_eq!(fixture.get(INDEX_USER, b"own"), found(&[5; 700]));
        assert_eq!(fixture.get(INDEX_USER, b"b"), found(b"2"));
        let shared = if shared_inside {
            &b"inside"[..]
        } else {
            b"image"
        };
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
