// SPDX-License-Identifier: GPL-2.0

//! From what a decoder finds wrong to an error code and a message.

use super::Erofs;
use crate::vfs;
use erodax_format::Error as FormatError;
use kernel::{prelude::*, str::BStr};

/// The error code for it.
pub(super) fn errno(error: FormatError) -> Error {
    match error {
        FormatError::Corrupt(_) | FormatError::OutOfBounds => EUCLEAN,
        FormatError::Unsupported(_) => EOPNOTSUPP,
        FormatError::Invalid(_) => EINVAL,
        FormatError::Checksum => EBADMSG,
        FormatError::NoDevice => ENODEV,
        FormatError::Volume(code) => Error::from_errno(code),
    }
}

impl Erofs {
    /// Logs what is wrong with an inode, unless there were many such lines just now, and
    /// gives the error code for it.
    #[cold]
    pub(super) fn report(&self, nid: u64, error: FormatError) -> Error {
        if vfs::may_log() {
            pr_err!(
                "{}: nid {}: {}\n",
                self.source_name(),
                nid,
                format_args!("{error}")
            );
        }
        errno(error)
    }

    /// The mount's source as it was given.
    pub(super) fn source_name(&self) -> &BStr {
        BStr::from_bytes(self.source.to_bytes())
    }
}
