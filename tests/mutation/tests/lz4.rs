// SPDX-License-Identifier: GPL-2.0

//! The vendored LZ4 decoder, as it is used for pclusters: until the output is full. It is compared with
//! what was compressed by the reference library, and with a decoder that does nothing cleverly.

use erodax_mutation::lz4::{self as blocks, encode, Sequence, MIN_MATCH};
use lz4_flex::block::decompress_into_partial;
use proptest::collection::vec;
use proptest::prelude::*;

/// Decodes between bytes that belong to something else: those around the output must stay as they are,
/// and those around the input must not matter.
fn decode(input: &[u8], len: usize) -> Option<Vec<u8>> {
    const GUARD: usize = 64;
    let results = [0, 0x5A, 0xFF].map(|guard| {
        let around = [guard; GUARD];
        let padded = [&around[..], input, &around].concat();
        let mut output = vec![guard; len + 2 * GUARD];
        let result = decompress_into_partial(
            &padded[GUARD..GUARD + input.len()],
            &mut output[GUARD..GUARD + len],
        );
        assert_eq!(output[..GUARD], around, "before the output");
        assert_eq!(output[GUARD + len..], around, "behind the output");
        let written = result.ok()?;
        Some(output[GUARD..GUARD + written].to_vec())
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
    // Without anything around, a checker of memory sees what else is touched.
    let mut output = vec![0; len].into_boxed_slice();
    let exact = decompress_into_partial(&input.to_vec().into_boxed_slice(), &mut output);
    let exact = exact.ok().map(|written| output[..written].to_vec());
    assert!(results[0] == exact);
    exact
}

/// Mostly short lengths, as in real blocks, and now and then one that needs further bytes.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 0..15_usize,
        4 => 15..60_usize,
        1 => 200..900_usize,
    ]
}

fn literals() -> impl Strategy<Value = Vec<u8>> {
    length().prop_flat_map(|len| vec(any::<u8>(), len))
}

/// Sequences whose offsets are all in what was decoded before.
fn sequences() -> impl Strategy<Value = Vec<Sequence>> {
    let offset = prop_oneof![
        3 => 1..40_u16,
        5 => any::<u16>(),
    ];
    vec((literals(), offset, length()), 0..150).prop_map(|parts| {
        let mut pos = 0;
        let mut sequences = Vec::new();
        for (mut literals, offset, length) in parts {
            if pos + literals.len() == 0 {
                literals.push(7);
            }
            pos += literals.len();
            let offset = usize::from(offset).checked_rem(pos).unwrap() + 1;
            let offset = u16::try_from(offset.min(pos)).unwrap_or(u16::MAX);
            let length = length + MIN_MATCH;
            pos += length;
            sequences.push(Sequence {
                literals,
                offset,
                length,
            });
        }
        sequences
    })
}

proptest! {
    /// Sequences of every shape, and as much room as is there or not.
    #[test]
    fn shapes(sequences in sequences(), last in literals(), room in 0..20_000_usize) {
        let block = encode(&sequences, &last);
        let expected = blocks::decode(&block, room);
        prop_assert!(expected.is_some());
        prop_assert_eq!(decode(&block, room), expected);
    }

    /// A block that is cut off or has other bytes at some places.
    #[test]
    fn damaged(
        sequences in sequences(),
        last in literals(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        room in 0..20_000_usize,
    ) {
        let mut block = encode(&sequences, &last);
        for (place, value) in changes {
            let place = place.index(block.len());
            block[place] = value;
        }
        block.truncate(cut.index(block.len() + 1));
        prop_assert_eq!(decode(&block, room), blocks::decode(&block, room));
    }

    #[test]
    fn parsed_again(sequences in sequences(), last in literals()) {
        let block = encode(&sequences, &last);
        prop_assert_eq!(blocks::parse(&block), (sequences, last));
    }

    #[test]
    fn arbitrary(block in vec(any::<u8>(), 0..3000), room in 0..20_000_usize) {
        prop_assert_eq!(decode(&block, room), blocks::decode(&block, room));
    }
}

/// Under Miri there is no library of C.
#[cfg(not(miri))]
mod by_reference {
    use super::*;
    use lz4::block::{compress, decompress as decompress_by_reference, CompressionMode};

    /// The reference library takes such a match for one of zeros (docs/differences.md).
    #[test]
    fn distance_of_zero() {
        let sequence = |offset| Sequence {
            literals: b"literals".to_vec(),
            offset,
            length: 20,
        };
        let [good, bad] = [1, 0].map(|offset| encode(&[sequence(offset)], b"the end behind it"));
        let expected = [&b"literals"[..], &[b's'; 20], b"the end behind it"].concat();
        assert_eq!(decompress_by_reference(&good, Some(100)).unwrap(), expected);
        assert_eq!(decode(&good, 100), Some(expected));
        let zeros = [&b"literals"[..], &[0; 20], b"the end behind it"].concat();
        assert_eq!(decompress_by_reference(&bad, Some(100)).unwrap(), zeros);
        assert_eq!(decode(&bad, 100), None);
    }

    /// Bytes that are like each other here and there.
    fn compressible() -> impl Strategy<Value = Vec<u8>> {
        vec((vec(0..40_u8, 1..20), 1..12_usize), 1..120).prop_map(|parts| {
            parts
                .iter()
                .flat_map(|(part, times)| part.repeat(*times))
                .collect()
        })
    }

    proptest! {
        /// Any part from the start on of what the reference library compressed.
        #[test]
        fn reference(bytes in compressible(), is_high in any::<bool>(), part in any::<prop::sample::Index>()) {
            let mode = match is_high {
                true => CompressionMode::HIGHCOMPRESSION(12),
                false => CompressionMode::DEFAULT,
            };
            let block = compress(&bytes, Some(mode), false).unwrap();
            prop_assert_eq!(decode(&block, bytes.len()), Some(bytes.clone()));
            // More room than that is not filled.
            prop_assert_eq!(decode(&block, bytes.len() + 100), Some(bytes.clone()));
            let part = part.index(bytes.len() + 1);
            prop_assert_eq!(decode(&block, part), Some(bytes[..part].to_vec()));
        }
    }
}
