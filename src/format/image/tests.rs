// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::Minimal;
use proptest::prelude::*;
use zerocopy::byteorder::little_endian as le;

const OUT: Error = Error::OutOfBounds;

#[test]
fn reads_are_bounded() {
    let bytes = [1, 2, 3, 4, 5];
    let image = &bytes[..];
    for (offset, expected) in [(0, Ok(0x0403_0201)), (1, Ok(0x0504_0302)), (2, Err(OUT))] {
        let number = image.read::<le::U32>(offset).map(le::U32::get);
        assert_eq!(number, expected);
        let number = Minimal(image).read::<le::U32>(offset).map(le::U32::get);
        assert_eq!(number, expected);
    }
    assert_eq!(image.read_at(5, &mut []), Ok(()));
    assert_eq!(image.read_at(6, &mut []), Err(OUT));
    assert_eq!(image.read_at(u64::MAX, &mut [0]), Err(OUT));
    assert_eq!(image.check(u64::MAX, 2), Err(OUT));
    assert!(!Image::is_empty(image));
}

#[test]
fn part_is_bounded_by_itself() {
    let bytes = [1, 2, 3, 4, 5];
    let whole = &bytes[..];
    let part = Part::new(whole, 1, 3).unwrap();
    assert_eq!(part.len(), 3);
    assert_eq!(part.read::<[u8; 3]>(0), Ok([2, 3, 4]));
    assert_eq!(part.read::<[u8; 3]>(1), Err(OUT));
    let mut buf = [0; 2];
    assert_eq!(part.read_at(1, &mut buf), Ok(()));
    assert_eq!(buf, [3, 4]);
    assert_eq!(part.read_at(2, &mut buf), Err(OUT));
    assert_eq!(part.cmp_at(1, 2, &[3, 4]), Ok(Ordering::Equal));
    assert_eq!(part.cmp_at(2, 2, &[4, 5]), Err(OUT));
    assert_eq!(part.strnlen_at(0, 3), Ok(3));
    assert_eq!(part.strnlen_at(0, 4), Err(OUT));
    assert!(Part::new(whole, 3, 3).is_err());
    assert!(Part::new(whole, u64::MAX, 2).is_err());
}

#[cfg(not(miri))]
proptest! {
    /// The provided methods agree with those of a slice, and both with the definition.
    #[test]
    fn provided_methods_agree(
        bytes in prop::collection::vec(0_u8..3, 0..200),
        other in prop::collection::vec(0_u8..3, 0..200),
        same in 0_usize..200,
        offset in 0_usize..210,
        len in 0_usize..210,
    ) {
        // Long equal starts are where pieces matter.
        let mut other = other;
        let tail = bytes.get(offset..).unwrap_or_default();
        for (to, from) in other.iter_mut().zip(tail).take(same) {
            *to = *from;
        }
        let (image, at) = (&bytes[..], to_u64(offset));
        let range = bytes.get(offset..offset + len);

        let order = range.map(|range| range.cmp(&other[..])).ok_or(OUT);
        prop_assert_eq!(image.cmp_at(at, len, &other), order);
        prop_assert_eq!(Minimal(image).cmp_at(at, len, &other), order);

        let strlen = range
            .map(|range| range.iter().position(|byte| *byte == 0).unwrap_or(len))
            .ok_or(OUT);
        prop_assert_eq!(image.strnlen_at(at, len), strlen);
        prop_assert_eq!(Minimal(image).strnlen_at(at, len), strlen);
    }
}
