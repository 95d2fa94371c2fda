// SPDX-License-Identifier: GPL-2.0

//! Headers and indexes that are wrong.

use super::*;

const CORRUPT: &str = "corrupt";
const UNSUPPORTED: &str = "unsupported";
const INVALID: &str = "invalid";
const OUT_OF_BOUNDS: &str = "out of bounds";

fn kind<T: core::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::Corrupt(_)) => CORRUPT,
        Err(Error::Unsupported(_)) => UNSUPPORTED,
        Err(Error::Invalid(_)) => INVALID,
        Err(Error::OutOfBounds) => OUT_OF_BOUNDS,
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers() {
    let element = [head(HEAD1, 0, 1)];
    let full = |head: &[u8]| kind(File::full(100, head, &element).map_header());
    // Unknown algorithms, also of the head that is not used.
    assert_eq!(full(&header(0, 0, 0x04, 0)), UNSUPPORTED);
    assert_eq!(full(&header(0, 0, 0xF0, 0)), UNSUPPORTED);
    for big in [2, 4] {
        let body = header(0, big, 0, 0);
        let compact = File::new(9, COMPRESSED_COMPACT, 100, 0, &body);
        assert_eq!(kind(compact.map_header()), CORRUPT, "one of two flags");
        assert!(File::full(100, &body, &element).map_header().is_ok());
    }
    let mut file = File::full(100, &header(0, 6, 0, 0), &element);
    file.image
        .put(crate::testing::field::FEATURE_INCOMPAT, &[1, 0, 0, 0]);
    assert_eq!(
        kind(file.map_header()),
        CORRUPT,
        "no big pclusters in the image"
    );
    let (sb, mut inode) = file.inode();
    inode.layout = crate::inode::Layout::FlatPlain;
    assert_eq!(kind(inode.map_header(file.image.image(), &sb)), INVALID);
}

#[test]
fn headers_past_the_end() {
    let file = File::full(100, &header(0, 0, 0, 0), &[head(HEAD1, 0, 1)]);
    let (sb, inode) = file.inode();
    let map = inode.map_header(file.image.image(), &sb).unwrap();
    let at = |len: usize| &file.image.image()[..len];
    let header = |len| inode.map_header(at(len), &sb).map(drop);
    assert!(header(file.header + 8).is_ok());
    assert_eq!(kind(header(file.header + 7)), OUT_OF_BOUNDS);
    let found = |len| inode.pcluster_at(at(len), &sb, &map, &mut Cursor::default(), 0);
    assert!(found(file.header + 24).is_ok());
    assert_eq!(kind(found(file.header + 23)), OUT_OF_BOUNDS);
}

#[test]
fn lookbacks() {
    let at = |pos, elements: &[[u8; 8]]| {
        let size = u64::try_from(elements.len()).unwrap() * 512;
        kind(File::full(size, &header(0, 0, 0, 0), elements).at(pos))
    };
    assert_eq!(at(0, &[non_head(1, 1)]), CORRUPT, "before the file");
    assert_eq!(at(0, &[non_head(0, 1)]), CORRUPT, "to itself");
    assert_eq!(at(0, &[head(HEAD1, 5, 1)]), CORRUPT, "starts later");
    let first = head(HEAD1, 0, 1);
    assert_eq!(at(512, &[first, non_head(2, 1)]), CORRUPT);
    assert_eq!(at(0, &[head(HEAD1, 512, 1)]), CORRUPT, "past its lcluster");
    assert_eq!(at(0, &[first, head(HEAD1, 512, 1)]), CORRUPT);
    assert_eq!(
        at(512, &[first, non_head(0x801, 1)]),
        CORRUPT,
        "none is big"
    );
}

#[test]
#[cfg_attr(miri, ignore = "so many steps take minutes")]
fn a_long_way_to_the_head() {
    let mut elements = vec![non_head(1, 1); 40_000];
    elements[0] = head(HEAD1, 0, 1);
    let file = File::full(40_000 * 512, &header(0, 0, 0, 0), &elements);
    assert_eq!(
        kind(file.at(39_999 * 512)),
        CORRUPT,
        "one lcluster at a time"
    );
}

#[test]
fn big_pclusters() {
    let at = |elements: &[[u8; 8]]| {
        let size = u64::try_from(elements.len()).unwrap() * 512;
        File::full(size, &header(0, 6, 0, 0), elements).at(0)
    };
    assert_eq!(kind(at(&[head(HEAD1, 0, 1), non_head(1, 1)])), CORRUPT);
    // 2047 blocks of 512 bytes are less than 1 MiB.
    let mut elements = vec![non_head(1, 1); 2047];
    elements[0] = head(HEAD1, 0, 1);
    elements[1] = block_count(2047, 2046);
    let expected = compressed(512, 2047 * 512, Algorithm::Lz4);
    assert_eq!(at(&elements), pcluster(0, 2047 * 512, expected));
    let file = File::new(
        10,
        COMPRESSED_FULL,
        2047 * 1024,
        0,
        &full_body(&header(0, 6, 0, 0), &elements),
    );
    assert_eq!(kind(file.at(0)), UNSUPPORTED, "2 MiB");
    let elements = [head(HEAD1, 0, 1), block_count(3, 1), head(HEAD1, 5, 4)];
    assert_eq!(kind(at(&elements)), CORRUPT, "1029 bytes in 1536");
}

#[test]
fn algorithms_that_the_image_does_not_use() {
    let mut file = File::full(100, &header(0, 0, 1, 0), &[head(HEAD1, 0, 1)]);
    assert!(file.at(0).is_ok());
    // LZ4 only.
    file.image.put(crate::testing::field::U1, &[1, 0]);
    assert_eq!(kind(file.at(0)), CORRUPT);
}

#[cfg(not(miri))]
proptest::proptest! {
    /// Any bytes as a header and an index, in any layout: right or wrong, but no panic, no endless
    /// search, and nothing beyond the file.
    #[test]
    fn hostile(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
        advise in 0..0x40_u16,
        algorithms in 0..4_u8,
        cluster_bits in 0..16_u8,
        compact in proptest::bool::ANY,
        size in proptest::num::u64::ANY,
        skew in 0..5_usize,
    ) {
        let mut body = header(1 << 20, advise, algorithms, cluster_bits);
        body.extend(bytes);
        let layout = if compact { COMPRESSED_COMPACT } else { COMPRESSED_FULL };
        for size in [size % 100_000 + 1, size >> 1] {
            let file = File::new(9, layout, size.max(1), skew, &body);
            let mut cursor = Cursor::default();
            for pos in [0, size / 3, size / 2, size / 2 + 700, size - 1, 5] {
                let Ok(found) = file.next(&mut cursor, pos) else {
                    continue;
                };
                assert!(found.start <= pos && pos - found.start < found.len);
                assert!(found.start + found.len <= size);
                if let Data::Encoded(encoded) = found.data {
                    assert!((1..=MAX_ENCODED_SIZE).contains(&encoded.len));
                    assert!(found.len <= MAX_DECODED_SIZE);
                }
                let sb = file.image.superblock();
                if let Some(part) = found.plain_part(&sb, pos - found.start) {
                    assert!(part.len >= 1 && part.len <= found.len);
                }
            }
        }
    }
}
