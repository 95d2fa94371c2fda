// SPDX-License-Identifier: GPL-2.0

//! Compression of the part of the initrd that the kernel unpacks.

use std::fmt;
use std::io::{self, Write};

/// How the kernel-unpacked part is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (`CONFIG_RD_GZIP`).
    Gzip,
    /// Zstandard (`CONFIG_RD_ZSTD`).
    #[default]
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Below the levels whose window the kernel's decompressor would have to allocate much
/// memory for, and quick enough for a whole distribution.
const ZSTD_LEVEL: i32 = 9;

/// A writer that compresses into another. Same bytes in, same bytes out: no time stamp
/// and no file name is stored.
pub(crate) enum Encoder<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            Compression::Gzip => Self::Gzip(flate2::write::GzEncoder::new(
                out,
                flate2::Compression::best(),
            )),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(out, ZSTD_LEVEL)?),
        })
    }

    /// Ends the compressed stream. Nothing may follow it: the kernel's decompressor takes
    /// padding after the last zstd frame for garbage.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn encode(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_can_be_undone_and_is_deterministic() {
        let bytes = b"the early files, the early files".repeat(1000);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encoded = encode(compression, &bytes);
            assert_eq!(encoded, encode(compression, &bytes));
            let mut decoded = Vec::new();
            match compression {
                Compression::None => decoded.clone_from(&encoded),
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(&*encoded)
                        .read_to_end(&mut decoded)
                        .unwrap();
                }
                Compression::Zstd => {
                    zstd::stream::copy_decode(&*encoded, &mut decoded).unwrap();
                }
            }
            assert_eq!(decoded, bytes, "{compression}");
        }
    }

    #[test]
    fn gzip_has_no_time_stamp() {
        assert_eq!(encode(Compression::Gzip, b"x")[4..8], [0; 4]);
    }
}
