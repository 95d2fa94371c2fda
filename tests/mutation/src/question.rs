// SPDX-License-Identifier: GPL-2.0

//! What a check asks of an image: which inode, where in it, how much, which name.
//!
//! It stands in the last bytes of the fuzzer's input, which are part of the image as well. So every
//! image is an input, every input is an image, and zeros at its end are a question too.

/// Size in bytes.
pub const SIZE: usize = 28;

/// What to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The inode, counted from the root directory's nid on.
    pub inode: u64,
    /// A position in its data.
    pub pos: u64,
    /// A number of bytes.
    pub len: u32,
    /// Where in the image the name to look for is.
    pub name: u32,
    /// That name's length.
    pub name_len: u32,
}

impl Question {
    /// The question at the end of an image; all zeros if it is too short to have one.
    pub fn of(image: &[u8]) -> Self {
        let bytes = image.last_chunk::<SIZE>().unwrap_or(&[0; SIZE]);
        let number = |range: core::ops::Range<usize>| {
            let mut number = [0; 8];
            number[..range.len()].copy_from_slice(&bytes[range]);
            u64::from_le_bytes(number)
        };
        let half = |start| u32::try_from(number(start..start + 4)).unwrap_or(0);
        Question {
            inode: number(0..8),
            pos: number(8..16),
            len: half(16),
            name: half(20),
            name_len: half(24),
        }
    }

    /// Writes it to the end of an image; not to one that is too short.
    pub fn put(&self, image: &mut [u8]) {
        let Some(bytes) = image.last_chunk_mut::<SIZE>() else {
            return;
        };
        bytes[0..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.pos.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.name.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.name_len.to_le_bytes());
    }

    /// The name: some bytes of the image, at most `max`.
    pub fn name_in<'a>(&self, image: &'a [u8], max: usize) -> &'a [u8] {
        let start = usize::try_from(self.name).unwrap_or(usize::MAX);
        let rest = image.get(start..).unwrap_or_default();
        let len = usize::try_from(self.name_len).unwrap_or(usize::MAX);
        &rest[..len.min(max).min(rest.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_and_read() {
        let question = Question {
            inode: u64::MAX - 1,
            pos: 1 << 40,
            len: 7,
            name: 2,
            name_len: 300,
        };
        let mut image = vec![9; 64];
        question.put(&mut image);
        assert_eq!(Question::of(&image), question);
        assert_eq!(image[..64 - SIZE], [9; 64 - SIZE]);
        assert_eq!(question.name_in(&image, 5), [9; 5]);
        assert_eq!(question.name_in(&image, 255).len(), 62);
    }

    #[test]
    fn short_images() {
        let mut image = [1; SIZE - 1];
        Question {
            pos: 5,
            ..Default::default()
        }
        .put(&mut image);
        assert_eq!(image, [1; SIZE - 1]);
        assert_eq!(Question::of(&image), Question::default());
        let far = Question {
            name: 90,
            name_len: 4,
            ..Default::default()
        };
        assert_eq!(far.name_in(&image, 255), b"");
    }
}
