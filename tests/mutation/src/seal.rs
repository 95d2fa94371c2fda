// SPDX-License-Identifier: GPL-2.0

//! The superblock's checksum.

use crate::places::SUPER_BLOCK;
use crc::{Algorithm, Crc};

/// `feature_compat`: the superblock has a checksum.
const CHECKSUM: u64 = 1 << 0;

/// CRC-32C that starts from a number of EROFS's own and is not inverted in the end.
const ALGORITHM: Algorithm<u32> = Algorithm {
    init: 0x5045_B54A_u32.reverse_bits(),
    xorout: 0,
    // Of another starting point, and not used.
    check: 0,
    residue: 0,
    ..crc::CRC_32_ISCSI
};

/// Makes the superblock state the checksum that it has, if it has one and all that it covers is
/// there.
pub fn seal(image: &mut [u8]) {
    const CRC: Crc<u32> = Crc::<u32>::new(&ALGORITHM);
    let (Some(compat), Some(bits)) = (
        SUPER_BLOCK.get(image, "feature_compat"),
        SUPER_BLOCK.get(image, "blkszbits"),
    ) else {
        return;
    };
    if compat & CHECKSUM == 0 || !(9..=12).contains(&bits) {
        return;
    }
    // To the end of the superblock's block, or for a block size from the superblock on.
    let end = match bits {
        11.. => 1 << bits,
        _ => 1024 + (1 << bits),
    };
    if let Some(covered) = image.get(1032..end) {
        let checksum = CRC.checksum(covered);
        SUPER_BLOCK.set(image, "checksum", u64::from(checksum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use erodax_format::superblock::SuperBlock;
    use erodax_format::Error;

    fn image(bits: u8) -> Vec<u8> {
        let mut image = vec![0; 8192];
        SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
        SUPER_BLOCK.set(&mut image, "feature_compat", CHECKSUM);
        SUPER_BLOCK.set(&mut image, "blkszbits", u64::from(bits));
        image[4095] = 7;
        image
    }

    #[test]
    fn every_block_size() {
        for bits in 9..=12 {
            let mut image = image(bits);
            assert_eq!(SuperBlock::read(&image[..]).err(), Some(Error::Checksum));
            seal(&mut image);
            assert!(SuperBlock::read(&image[..]).is_ok(), "{bits}");
        }
    }

    #[test]
    fn what_has_none_stays() {
        let mut without = image(12);
        SUPER_BLOCK.set(&mut without, "feature_compat", 0);
        for mut image in [without, image(8), image(13), vec![0xFF; 1100], vec![]] {
            let before = image.clone();
            seal(&mut image);
            assert_eq!(image, before);
        }
    }
}
