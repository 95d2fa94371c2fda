// SPDX-License-Identifier: GPL-2.0

//! LZ4 blocks: their sequences, and a decoder that does nothing cleverly.

/// A run of literals, and a match behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Bytes that are copied.
    pub literals: Vec<u8>,
    /// How far back the match is.
    pub offset: u16,
    /// How many bytes it has: 4 at least.
    pub length: usize,
}

/// The shortest match.
pub const MIN_MATCH: usize = 4;
/// Four bits of a token that say that the length goes on in further bytes.
const LONG: usize = 15;

/// The first `len` bytes that a block decodes to, fewer if it ends before; `None` if it is damaged
/// before.
pub fn decode(block: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut input = block.iter().copied();
    let mut output = Vec::new();
    while output.len() < len {
        let token = usize::from(input.next()?);
        let literals = read_length(token >> 4, &mut input)?.min(len - output.len());
        for _ in 0..literals {
            output.push(input.next()?);
        }
        if output.len() == len || input.len() == 0 {
            break;
        }
        let offset = usize::from(u16::from_le_bytes([input.next()?, input.next()?]));
        if offset == 0 || offset > output.len() {
            return None;
        }
        let length = read_length(token & LONG, &mut input)? + MIN_MATCH;
        for _ in 0..length.min(len - output.len()) {
            output.push(output[output.len() - offset]);
        }
    }
    Some(output)
}

fn read_length(short: usize, input: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut length = short;
    let mut goes_on = short == LONG;
    while goes_on {
        let byte = input.next()?;
        length += usize::from(byte);
        goes_on = byte == 255;
    }
    Some(length)
}

/// The sequences of a block, as far as there are any, and the literals behind them.
pub fn parse(block: &[u8]) -> (Vec<Sequence>, Vec<u8>) {
    let mut input = block.iter().copied();
    let mut sequences = Vec::new();
    while let Some(token) = input.next() {
        let token = usize::from(token);
        let count = read_length(token >> 4, &mut input).unwrap_or(0);
        let literals = input.by_ref().take(count).collect();
        let (Some(low), Some(high)) = (input.next(), input.next()) else {
            return (sequences, literals);
        };
        sequences.push(Sequence {
            literals,
            offset: u16::from_le_bytes([low, high]),
            length: read_length(token & LONG, &mut input).unwrap_or(0) + MIN_MATCH,
        });
    }
    (sequences, Vec::new())
}

/// A block of these sequences, and a last one that is literals only.
pub fn encode(sequences: &[Sequence], last: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for Sequence {
        literals,
        offset,
        length,
    } in sequences
    {
        push_token(&mut block, literals.len(), length - MIN_MATCH);
        push_length(&mut block, literals.len());
        block.extend(literals);
        block.extend(offset.to_le_bytes());
        push_length(&mut block, length - MIN_MATCH);
    }
    push_token(&mut block, last.len(), 0);
    push_length(&mut block, last.len());
    block.extend(last);
    block
}

fn push_token(block: &mut Vec<u8>, literals: usize, length: usize) {
    let token = (literals.min(LONG) << 4) | length.min(LONG);
    block.push(u8::try_from(token).unwrap_or(u8::MAX));
}

fn push_length(block: &mut Vec<u8>, length: usize) {
    if let Some(more) = length.checked_sub(LONG) {
        block.extend(std::iter::repeat_n(255, more / 255));
        block.push(u8::try_from(more % 255).unwrap_or(0));
    }
}
