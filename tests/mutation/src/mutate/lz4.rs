// SPDX-License-Identifier: GPL-2.0

//! Changing the sequences of an LZ4 block.

use crate::lz4::{encode, parse, Sequence, MIN_MATCH};
use fastrand::Rng;

/// Bytes behind the block that say how much of it to decode.
const ROOM: usize = 4;

/// Lengths around those at which they take another byte, or another way through the decoder.
const LENGTHS: [usize; 16] = [
    0, 1, 7, 8, 14, 15, 16, 18, 19, 31, 32, 33, 63, 269, 270, 525,
];
/// Offsets around those at which matches are copied in another way.
const OFFSETS: [u16; 14] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 31, 32, 33, 64, u16::MAX];

/// Changes the block that the first `size` bytes of `data` begin with, or how much of it is decoded;
/// the same seed does so in the same way. Returns the new size, at most `max_size`.
pub fn lz4(data: &mut [u8], size: usize, max_size: usize, seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let (block, room) = match data[..size].split_last_chunk::<ROOM>() {
        Some((block, room)) => (block, u32::from_le_bytes(*room)),
        None => (&[][..], 0),
    };
    let (mut sequences, mut last) = parse(block);
    let room = match rng.u8(..4) {
        0 => room.wrapping_add(rng.u32(..80)).wrapping_sub(40),
        1 => rng.u32(..80_000) >> rng.u32(..16),
        _ => room,
    };
    for _ in 0..rng.usize(..4) {
        change(&mut sequences, &mut last, &mut rng);
    }
    let mut block = encode(&sequences, &last);
    if rng.u8(..4) == 0 {
        // Cut off, or with another byte somewhere.
        let place = rng.usize(..block.len());
        match rng.u8(..3) {
            0 => block.truncate(place),
            1 => block[place] = rng.choice([0, 0xF, 0xF0, 0xFF]).unwrap_or(0),
            _ => block[place] = rng.u8(..),
        }
    }
    let len = block.len().min(max_size.saturating_sub(ROOM));
    data[..len].copy_from_slice(&block[..len]);
    let end = (len + ROOM).min(max_size);
    data[len..end].copy_from_slice(&room.to_le_bytes()[..end - len]);
    end
}

fn change(sequences: &mut Vec<Sequence>, last: &mut Vec<u8>, rng: &mut Rng) {
    let place = rng.usize(..=sequences.len());
    let Some(sequence) = sequences.get_mut(place) else {
        if rng.bool() {
            sequences.push(new(rng));
        } else {
            *last = literals(rng);
        }
        return;
    };
    match rng.u8(..6) {
        0 => sequence.literals = literals(rng),
        1 => sequence.offset = rng.choice(OFFSETS).unwrap_or(0),
        2 => sequence.offset = sequence.offset.wrapping_add(rng.u16(..9)).wrapping_sub(4),
        3 => sequence.length = MIN_MATCH + length(rng),
        4 => {
            sequences.remove(place);
        }
        _ => {
            let copy = rng.choice(&*sequences).cloned().unwrap_or_else(|| new(rng));
            sequences.insert(place, copy);
        }
    }
}

fn new(rng: &mut Rng) -> Sequence {
    Sequence {
        literals: literals(rng),
        offset: rng.choice(OFFSETS).unwrap_or(1),
        length: MIN_MATCH + length(rng),
    }
}

fn length(rng: &mut Rng) -> usize {
    match rng.u8(..4) {
        0 => rng.usize(..2000),
        _ => rng.choice(LENGTHS).unwrap_or(0),
    }
}

fn literals(rng: &mut Rng) -> Vec<u8> {
    let len = length(rng);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}
