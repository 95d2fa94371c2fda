// SPDX-License-Identifier: GPL-2.0

//! CRC-32C (Castagnoli), as the superblock's checksum uses it.

/// The polynomial 0x1EDC6F41 with its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// What each value of the low byte does to the remainder.
static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut byte: u32 = 0;
    while index < table.len() {
        table[index] = remainder(byte);
        index += 1;
        byte += 1;
    }
    table
}

const fn remainder(byte: u32) -> u32 {
    let mut rest = byte;
    let mut bit = 0;
    while bit < 8 {
        rest = (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
        bit += 1;
    }
    rest
}

/// Continues the checksum `crc` over `bytes`.
///
/// Like the kernel's `crc32c()`, it inverts neither the seed nor the result.
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value and the vectors of RFC 3720, appendix B.4.
    #[test]
    fn known_vectors() {
        let ascending: [u8; 32] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        for (bytes, expected) in [
            (&b"123456789"[..], 0xE306_9283),
            (&[0; 32], 0x8A91_36AA),
            (&[0xFF; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
        ] {
            assert_eq!(!crc32c(!0, bytes), expected);
        }
    }

    #[test]
    fn continues_in_pieces() {
        let whole = crc32c(7, b"erofs superblock");
        assert_eq!(crc32c(crc32c(7, b"erofs "), b"superblock"), whole);
    }
}
