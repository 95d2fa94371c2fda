// SPDX-License-Identifier: GPL-2.0

//! Writing LZ4 blocks by hand, right ones and wrong ones.

/// A stream of LZ4 sequences.
#[derive(Default)]
pub(super) struct Stream(Vec<u8>);

/// What a length's half of the token says if bytes with the rest of it follow.
const MORE: usize = 15;
/// The shortest match.
const MIN_MATCH: usize = 4;

impl Stream {
    /// Literals, and then a match: `len` bytes from `offset` bytes back on.
    pub(super) fn sequence(mut self, literals: &[u8], offset: u16, len: usize) -> Self {
        self.begin(literals, len - MIN_MATCH);
        self.0.extend(offset.to_le_bytes());
        self.extend_len(len - MIN_MATCH);
        self
    }

    /// The last literals.
    pub(super) fn literals(mut self, literals: &[u8]) -> Self {
        self.begin(literals, 0);
        self
    }

    /// The begin of a sequence of more literals than there are.
    pub(super) fn missing_literals(mut self, literals: &[u8], missing: usize) -> Self {
        let len = literals.len() + missing;
        self.token(len, 0);
        self.extend_len(len);
        self.0.extend(literals);
        self
    }

    /// A pcluster of one block: the stream at its end, as images with `LZ4_0PADDING` have it.
    pub(super) fn block(self) -> Vec<u8> {
        const BLOCK: usize = 4096;
        let mut block = vec![0; BLOCK - self.0.len()];
        block.extend(self.0);
        block
    }

    fn begin(&mut self, literals: &[u8], match_len: usize) {
        self.token(literals.len(), match_len);
        self.extend_len(literals.len());
        self.0.extend(literals);
    }

    fn token(&mut self, literals: usize, match_len: usize) {
        let token = (literals.min(MORE) << 4) | match_len.min(MORE);
        self.0
            .push(u8::try_from(token).expect("two halves of a byte"));
    }

    fn extend_len(&mut self, len: usize) {
        if let Some(more) = len.checked_sub(MORE) {
            self.0.extend(std::iter::repeat_n(255, more / 255));
            self.0.push(u8::try_from(more % 255).expect("below 255"));
        }
    }
}

/// Bytes without a pattern that a match could find.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes()[3])
    };
    std::iter::from_fn(next).take(len).collect()
}
