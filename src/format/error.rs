// SPDX-License-Identifier: GPL-2.0

//! The error type of all decoders.

use core::fmt;

/// What a decoder returns.
pub type Result<T> = core::result::Result<T, Error>;

/// Why something could not be decoded.
///
/// The text names what is wrong, as a phrase that fits behind "nid 42: ". The comment of each
/// variant has the error code that stock EROFS answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes contradict the format (`EUCLEAN`).
    Corrupt(&'static str),
    /// The format allows it, this driver does not know it (`EOPNOTSUPP`).
    Unsupported(&'static str),
    /// It is not something that can be mounted at all (`EINVAL`).
    Invalid(&'static str),
    /// The superblock does not have the checksum that it states (`EBADMSG`).
    Checksum,
    /// The data is on a device that is not there (`ENODEV`).
    NoDevice,
    /// A read goes past the end of the image, or of the file (`EUCLEAN`).
    OutOfBounds,
    /// The volume could not read or decode, for reasons of its own: its error code.
    Volume(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Corrupt(what) => write!(f, "corrupt: {what}"),
            Error::Unsupported(what) => write!(f, "not supported: {what}"),
            Error::Invalid(what) => f.write_str(what),
            Error::Checksum => f.write_str("wrong superblock checksum"),
            Error::NoDevice => f.write_str("data on a device that is not there"),
            Error::OutOfBounds => f.write_str("corrupt: an address lies past the end"),
            Error::Volume(code) => write!(f, "cannot be read: error {code}"),
        }
    }
}

impl core::error::Error for Error {}
