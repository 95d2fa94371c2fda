// SPDX-License-Identifier: GPL-2.0

//! What a machine says on its second serial port: a byte for each phase of each image, so that
//! one knows where it was when it is lost, and a line of JSON for everything else.

use serde::{Deserialize, Serialize};

/// What begins with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The image itself is made.
    Image,
    /// The kernel's own EROFS has it.
    Stock,
    /// erodax has it.
    Erodax,
}

impl Phase {
    /// The byte that says so.
    pub fn byte(self) -> u8 {
        match self {
            Self::Image => b'.',
            Self::Stock => b's',
            Self::Erodax => b'e',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Image, Self::Stock, Self::Erodax];
        all.into_iter().find(|phase| phase.byte() == byte)
    }
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images that erodax has mounted.
    pub mounted: u64,
    /// Answers to system calls about them.
    pub answers: u64,
    /// Of these, errors.
    pub errors: u64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// The machine is ready.
    Started {
        /// Release of the running kernel.
        kernel: String,
    },
    /// Since the start; now and then.
    Progress(Counts),
    /// The kernel complained.
    Complaint {
        /// The mutant.
        seed: u64,
        /// Whether the kernel's own EROFS had it at that time.
        stock: bool,
        /// What the kernel said.
        text: String,
    },
    /// erodax contradicts itself.
    Contradiction {
        /// The mutant.
        seed: u64,
        /// What with what.
        text: String,
    },
    /// The two drivers answer differently.
    Difference {
        /// The mutant.
        seed: u64,
        /// The class of [`crate::difference`], if it is in one.
        class: Option<String>,
        /// What.
        text: String,
    },
    /// The kernel's own EROFS does not answer the same twice.
    Fickle {
        /// The mutant.
        seed: u64,
    },
    /// The guest gives up.
    Failed {
        /// Why.
        message: String,
    },
    /// The last line.
    Finished,
}

/// Takes apart what comes, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// Images that were begun.
    pub images: u64,
    /// The last phase.
    pub phase: Option<Phase>,
}

impl Parser {
    /// Takes some bytes; returns the records that end in them.
    ///
    /// # Errors
    /// When a line is not understood.
    pub fn take(&mut self, bytes: &[u8]) -> serde_json::Result<Vec<Record>> {
        let mut records = Vec::new();
        for &byte in bytes {
            if let (true, Some(phase)) = (self.line.is_empty(), Phase::of(byte)) {
                self.images += u64::from(phase == Phase::Image);
                self.phase = Some(phase);
            } else if byte == b'\n' {
                records.push(serde_json::from_slice(&std::mem::take(&mut self.line))?);
            } else {
                self.line.push(byte);
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_lines_in_pieces() {
        let complaint = Record::Complaint {
            seed: 7,
            stock: true,
            text: "a.s.e\nsecond".to_owned(),
        };
        let line = serde_json::to_string(&complaint).unwrap() + "\n";
        let all = [b".se.s", line.as_bytes(), b"e."].concat();
        for size in [1, 3, all.len()] {
            let mut parser = Parser::default();
            let pieces = all.chunks(size).map(|piece| parser.take(piece).unwrap());
            assert_eq!(pieces.flatten().collect::<Vec<_>>(), [complaint.clone()]);
            assert_eq!((parser.images, parser.phase), (3, Some(Phase::Image)));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Parser::default().take(b"oops\n").is_err());
    }
}
