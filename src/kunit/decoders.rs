// SPDX-License-Identifier: GPL-2.0

//! The format's decoders on an image in the module.

use super::{FOX, SENTENCE, SENTENCES};
use erodax_format::{
    dir,
    inode::{FileType, Inode},
    pcluster::{Algorithm, Cursor, Data, Encoded, Encoding, Pcluster},
    superblock::SuperBlock,
    Result as FormatResult,
};
use kernel::prelude::*;

/// The pcluster that has byte `pos` of `fox` in an image.
fn fox_pcluster(image: &[u8], pos: u64) -> FormatResult<Option<(Inode, Pcluster)>> {
    let sb = SuperBlock::read(image)?;
    let root = Inode::read(image, &sb, sb.root_nid())?;
    let Some(found) = dir::lookup(image, &sb, &root, b"fox")? else {
        return Ok(None);
    };
    let inode = Inode::read(image, &sb, found.nid)?;
    let header = inode.map_header(image, &sb)?;
    let pcluster = inode.pcluster_at(image, &sb, &header, &mut Cursor::default(), pos)?;
    Ok(Some((inode, pcluster)))
}

#[kunit_tests(erodax_decoders)]
mod tests {
    use super::*;

    #[test]
    fn the_superblock_says_what_mkfs_was_told() -> Result {
        let sb = SuperBlock::read(&FOX[..]).map_err(|_| EINVAL)?;
        assert_eq!(sb.block_size(), 4096);
        assert_eq!(sb.size(), FOX.len() as u64);
        assert_eq!(sb.epoch().max(sb.build_time()), 1_700_000_000);
        assert_eq!(sb.uuid()[0], 0xc1);
        assert!(sb.algorithms().contains(Algorithm::Lz4));
        Ok(())
    }

    #[test]
    fn fox_is_one_compressed_pcluster() -> Result {
        let last = (SENTENCE.len() * SENTENCES - 1) as u64;
        for pos in [0, 4095, 4096, last] {
            let found = fox_pcluster(FOX, pos).map_err(|_| EINVAL)?;
            let (inode, pcluster) = found.ok_or(ENOENT)?;
            assert_eq!(inode.size, last + 1);
            assert!(inode.file_type() == FileType::Regular);
            assert_eq!(pcluster.start, 0);
            assert_eq!(pcluster.len, last + 1);
            assert!(matches!(
                pcluster.data,
                Data::Encoded(Encoded {
                    encoding: Encoding::Compressed(Algorithm::Lz4),
                    ..
                })
            ));
        }
        assert!(fox_pcluster(FOX, last + 1).is_err());
        Ok(())
    }

    /// Every error is an answer; a panic would stop the kernel.
    #[test]
    fn an_image_cut_short_anywhere_is_an_error_or_reads_alike() -> Result {
        let whole = fox_pcluster(FOX, 0).map_err(|_| EINVAL)?;
        for end in (0..FOX.len()).step_by(61) {
            if let Ok(found) = fox_pcluster(&FOX[..end], 0) {
                assert!(found == whole);
            }
        }
        Ok(())
    }
}
