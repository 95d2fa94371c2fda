// SPDX-License-Identifier: GPL-2.0

//! The 32-bit hash of the xxHash family, as the name filter of xattrs uses it.

const PRIME_1: u32 = 0x9E37_79B1;
const PRIME_2: u32 = 0x85EB_CA77;
const PRIME_3: u32 = 0xC2B2_AE3D;
const PRIME_4: u32 = 0x27D4_EB2F;
const PRIME_5: u32 = 0x1656_67B1;

fn round(lane: u32, input: u32) -> u32 {
    lane.wrapping_add(input.wrapping_mul(PRIME_2))
        .rotate_left(13)
        .wrapping_mul(PRIME_1)
}

/// The first 4 bytes as a number, and the rest.
fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*first), rest))
}

/// The hash of `bytes`.
pub(crate) fn xxh32(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed.wrapping_add(PRIME_5);
    let mut rest = bytes;
    if bytes.len() >= 16 {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        while rest.len() >= 16 {
            for lane in &mut lanes {
                if let Some((input, behind)) = split(rest) {
                    *lane = round(*lane, input);
                    rest = behind;
                }
            }
        }
        hash = lanes
            .iter()
            .zip([1, 7, 12, 18])
            .fold(0, |sum: u32, (lane, turn)| {
                sum.wrapping_add(lane.rotate_left(turn))
            });
    }
    // The hash takes only the low 32 bits of a length.
    let [a, b, c, d, ..] = bytes.len().to_le_bytes();
    hash = hash.wrapping_add(u32::from_le_bytes([a, b, c, d]));
    while let Some((input, behind)) = split(rest) {
        hash = hash
            .wrapping_add(input.wrapping_mul(PRIME_3))
            .rotate_left(17)
            .wrapping_mul(PRIME_4);
        rest = behind;
    }
    for byte in rest {
        hash = hash
            .wrapping_add(u32::from(*byte).wrapping_mul(PRIME_5))
            .rotate_left(11)
            .wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation.
    #[test]
    fn known_values() {
        for (bytes, seed, expected) in [
            (&b""[..], 0, 0x02CC_5D05),
            (b"", 0x9E37_79B1, 0x36B7_8AE7),
            (b"a", 0, 0x550D_7456),
            (b"abc", 0, 0x32D1_53FF),
            (b"Nobody inspects the spammish repetition", 0, 0xE229_3B2F),
        ] {
            assert_eq!(xxh32(bytes, seed), expected);
        }
    }
}
