// SPDX-License-Identifier: GPL-2.0

//! Changes of single fields, for tools that move things in an image.

/// New bytes of a field, and where in the image they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where they start in the image.
    pub offset: u64,
    value: [u8; 4],
    len: usize,
}

impl Change {
    /// A field of 32 bits.
    pub(crate) fn word(offset: u64, value: u32) -> Self {
        Change {
            offset,
            value: value.to_le_bytes(),
            len: 4,
        }
    }

    /// A field of 16 bits.
    pub(crate) fn half(offset: u64, value: u16) -> Self {
        let [low, high] = value.to_le_bytes();
        Change {
            offset,
            value: [low, high, 0, 0],
            len: 2,
        }
    }

    /// The new bytes.
    pub fn bytes(&self) -> &[u8] {
        self.value.get(..self.len).unwrap_or_default()
    }
}

/// The lower 32 and the upper 16 bits of a block number, if it has no more.
pub(crate) fn split(block: u64) -> Option<(u32, u16)> {
    let [b0, b1, b2, b3, b4, b5, 0, 0] = block.to_le_bytes() else {
        return None;
    };
    Some((
        u32::from_le_bytes([b0, b1, b2, b3]),
        u16::from_le_bytes([b4, b5]),
    ))
}
