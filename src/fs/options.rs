// SPDX-License-Identifier: GPL-2.0

//! Mount options.

use crate::vfs::Context;
use kernel::{prelude::*, str::BStr};

/// `dax`, `dax=always`, `dax=never`, or nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Dax {
    /// Mapped directly where possible, copied where not.
    #[default]
    Auto,
    /// A mount fails if data cannot be mapped directly.
    Always,
    /// Always through the page cache.
    Never,
}

/// The options of one mount.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(super) dax: Dax,
}

impl Options {
    /// Takes one option in.
    pub(super) fn set(
        &mut self,
        context: &Context<'_>,
        key: &CStr,
        value: Option<&CStr>,
    ) -> Result {
        match (key.to_bytes(), value.map(CStr::to_bytes)) {
            (b"dax", None | Some(b"always")) => self.dax = Dax::Always,
            (b"dax", Some(b"never")) => self.dax = Dax::Never,
            (b"dax", Some(other)) => {
                let other = BStr::from_bytes(other);
                context.error(fmt!("dax={}: use dax, dax=always or dax=never", other));
                return Err(EINVAL);
            }
            (other, _) => {
                let other = BStr::from_bytes(other);
                context.error(fmt!(
                    "unknown option {}: there is only dax[=always|never]",
                    other
                ));
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}
