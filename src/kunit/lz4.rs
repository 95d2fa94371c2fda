// SPDX-License-Identifier: GPL-2.0

//! The LZ4 decoder, as it is built for the kernel.

use super::{is_fox, SENTENCE};
use kernel::prelude::*;
use lz4_flex::block::decompress_into_partial;

/// A sentence as literals, a match that repeats it four times, and the literals that end a block.
const BLOCK: &[u8] = b"\xff\x06The quick brown fox. \x15\x00A\xf0\x06The quick brown fox. ";

/// How many bytes it decodes to.
const LEN: usize = 6 * SENTENCE.len();

#[kunit_tests(erodax_lz4)]
mod tests {
    use super::*;

    #[test]
    fn any_prefix_is_decoded() -> Result {
        let mut output = KVec::from_elem(0, LEN + 64, GFP_KERNEL)?;
        for len in 0..=LEN {
            output.fill(0);
            assert!(
                matches!(decompress_into_partial(BLOCK, &mut output[..len]), Ok(written) if written == len)
            );
            assert!(is_fox(0, &output[..len]));
            assert!(output[len..].iter().all(|&byte| byte == 0));
        }
        Ok(())
    }

    #[test]
    fn a_block_that_ends_early_says_how_much_it_gave() -> Result {
        let mut output = KVec::from_elem(0, LEN + 64, GFP_KERNEL)?;
        assert!(matches!(
            decompress_into_partial(BLOCK, &mut output),
            Ok(LEN)
        ));
        assert!(is_fox(0, &output[..LEN]));
        Ok(())
    }

    /// Under KASAN a read or write beyond the buffers would be reported.
    #[test]
    fn broken_blocks_stay_inside_the_buffers() -> Result {
        for at in 0..BLOCK.len() {
            for value in [0, 1, 0x0f, 0xf0, 0xff] {
                let mut input = KVec::with_capacity(BLOCK.len(), GFP_KERNEL)?;
                input.extend_from_slice(BLOCK, GFP_KERNEL)?;
                input[at] = value;
                let mut output = KVec::from_elem(0, LEN, GFP_KERNEL)?;
                let answer = decompress_into_partial(&input, &mut output);
                assert!(answer.map_or(true, |written| written <= LEN));
                input.truncate(at);
                let answer = decompress_into_partial(&input, &mut output);
                assert!(answer.map_or(true, |written| written <= LEN));
            }
        }
        Ok(())
    }

    #[test]
    fn offsets_before_the_output_are_refused() -> Result {
        let mut output = [0; 64];
        for block in [
            &b"\x10A\x00\x00\x00"[..],
            b"\x10A\x02\x00\x00",
            b"\x10A\xff\xff\x00",
        ] {
            assert!(decompress_into_partial(block, &mut output).is_err());
        }
        Ok(())
    }
}
