// SPDX-License-Identifier: GPL-2.0

use crate::lz4;

/// Bytes that are decoded at most: what a match can reach back, and more.
const MAX_ROOM: usize = 80_000;

/// An LZ4 block, with the number of bytes to decode behind it, in 4 bytes. `partial` is the decoder
/// under test: it gives the first bytes of a block, up to so many, or `None` for a damaged block.
///
/// It is compared with one that does nothing cleverly; and with the release's decoder and the
/// reference library, which decode blocks as a whole only, and take fewer of them for good.
pub fn lz4(input: &[u8], partial: impl Fn(&[u8], usize) -> Option<Vec<u8>>) {
    let Some((block, room)) = input.split_last_chunk() else {
        return;
    };
    let room = usize::try_from(u32::from_le_bytes(*room)).unwrap_or(0) % (MAX_ROOM + 1);
    let decoded = partial(block, room);
    assert!(decoded == lz4::decode(block, room), "room {room}");
    for whole in [by_release(block), by_reference(block)]
        .into_iter()
        .flatten()
    {
        let len = whole.len().min(room);
        assert!(decoded.as_deref() == Some(&whole[..len]), "room {room}");
        assert!(partial(block, whole.len()).as_ref() == Some(&whole));
    }
}

fn by_release(block: &[u8]) -> Option<Vec<u8>> {
    let mut output = vec![0; MAX_ROOM];
    let len = lz4_flex::block::decompress_into(block, &mut output).ok()?;
    output.truncate(len);
    Some(output)
}

fn by_reference(block: &[u8]) -> Option<Vec<u8>> {
    // It takes matches at a distance of 0 for good, which the format says are not.
    let (sequences, _) = lz4::parse(block);
    if block.is_empty() || sequences.iter().any(|sequence| sequence.offset == 0) {
        return None;
    }
    ::lz4::block::decompress(block, i32::try_from(MAX_ROOM).ok()).ok()
}
