// SPDX-License-Identifier: GPL-2.0

//! Mount options, with the names that stock EROFS has for them.

use crate::vfs::Context;
use kernel::{
    prelude::*,
    seq_file::{seq_print, SeqFile},
    str::{BStr, CString},
};

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

/// `cache_strategy=`: how stock caches compressed data. It is taken and shown, but there is
/// nothing that it could change here: compressed bytes are never cached.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum CacheStrategy {
    Disabled,
    Readahead,
    #[default]
    Readaround,
}

/// The options of one mount.
pub(crate) struct Options {
    pub(super) dax: Dax,
    pub(super) user_xattr: bool,
    pub(super) acl: bool,
    pub(super) cache_strategy: CacheStrategy,
    /// Where in the source the image begins, in bytes.
    pub(super) offset: u64,
    /// `device=`, in the order of the image's device table.
    pub(super) devices: KVec<CString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dax: Dax::default(),
            user_xattr: true,
            acl: true,
            cache_strategy: CacheStrategy::default(),
            offset: 0,
            devices: KVec::new(),
        }
    }
}

impl Options {
    /// Takes one option in.
    pub(super) fn set(
        &mut self,
        context: &Context<'_>,
        key: &CStr,
        value: Option<&CStr>,
    ) -> Result {
        let bytes = value.map(CStr::to_bytes);
        match (key.to_bytes(), bytes) {
            (b"dax", None | Some(b"always")) => self.dax = Dax::Always,
            (b"dax", Some(b"never")) => self.dax = Dax::Never,
            (b"user_xattr", None) => self.user_xattr = true,
            (b"nouser_xattr", None) => self.user_xattr = false,
            (b"acl", None) => self.acl = true,
            (b"noacl", None) => self.acl = false,
            (b"cache_strategy", Some(b"disabled")) => {
                self.cache_strategy = CacheStrategy::Disabled;
            }
            (b"cache_strategy", Some(b"readahead")) => {
                self.cache_strategy = CacheStrategy::Readahead;
            }
            (b"cache_strategy", Some(b"readaround")) => {
                self.cache_strategy = CacheStrategy::Readaround;
            }
            (b"device", Some(_)) => {
                let path = value.map(CStr::to_cstring).ok_or(EINVAL)??;
                self.devices.push(path, GFP_KERNEL)?;
            }
            (b"fsoffset", Some(text)) => match parse_number(text) {
                Some(offset) => self.offset = offset,
                None => return Err(refuse(context, key, bytes)),
            },
            _ => return Err(refuse(context, key, bytes)),
        }
        Ok(())
    }

    /// Writes the options as mountinfo shows them.
    pub(super) fn show(&self, out: &SeqFile) {
        let or_no = |is_on: bool| if is_on { "" } else { "no" };
        seq_print!(out, ",{}user_xattr", or_no(self.user_xattr));
        seq_print!(out, ",{}acl", or_no(self.acl));
        match self.cache_strategy {
            CacheStrategy::Disabled => seq_print!(out, ",cache_strategy=disabled"),
            CacheStrategy::Readahead => seq_print!(out, ",cache_strategy=readahead"),
            CacheStrategy::Readaround => seq_print!(out, ",cache_strategy=readaround"),
        }
        match self.dax {
            Dax::Auto => {}
            Dax::Always => seq_print!(out, ",dax=always"),
            Dax::Never => seq_print!(out, ",dax=never"),
        }
        for device in &self.devices {
            seq_print!(out, ",device={}", BStr::from_bytes(device.to_bytes()));
        }
        if self.offset != 0 {
            seq_print!(out, ",fsoffset={}", self.offset);
        }
    }
}

/// Says what is wrong with an option.
fn refuse(context: &Context<'_>, key: &CStr, value: Option<&[u8]>) -> Error {
    let shown = BStr::from_bytes(key.to_bytes());
    match (key.to_bytes(), value) {
        (b"dax", _) => context.error(fmt!("wrong value of dax: use dax, dax=always or dax=never")),
        (b"cache_strategy", _) => context.error(fmt!(
            "wrong value of cache_strategy: use disabled, readahead or readaround"
        )),
        (b"device" | b"fsoffset", _) => context.error(fmt!(
            "wrong value of {}: use device=/dev/erodaxN, fsoffset=BYTES",
            shown
        )),
        (b"user_xattr" | b"nouser_xattr" | b"acl" | b"noacl", _) => {
            context.error(fmt!("option {} takes no value", shown));
        }
        _ => context.error(fmt!(
            "unknown option {}: there are dax, user_xattr, acl, cache_strategy, device and fsoffset",
            shown
        )),
    }
    EINVAL
}

/// A decimal number.
fn parse_number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}
