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

/// The options of one mount; None is what was not given.
#[derive(Default)]
pub(crate) struct Options {
    pub(super) dax: Dax,
    user_xattr: Option<bool>,
    acl: Option<bool>,
    cache_strategy: Option<CacheStrategy>,
    /// Where in the source the image begins, in bytes.
    pub(super) offset: u64,
    /// `device=`, in the order of the image's device table.
    pub(super) devices: KVec<CString>,
}

impl Options {
    /// Whether there are attributes in `user.`.
    pub(super) fn has_user_xattrs(&self) -> bool {
        self.user_xattr.unwrap_or(true)
    }

    /// Whether there are POSIX ACLs.
    pub(super) fn has_acls(&self) -> bool {
        self.acl.unwrap_or(true)
    }

    fn cache_strategy(&self) -> CacheStrategy {
        self.cache_strategy.unwrap_or_default()
    }

    fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.devices.iter().map(|path| path.to_bytes())
    }

    /// The first of the options given for a mounted image that is not as it was `mounted` with.
    pub(super) fn change_of(&self, mounted: &Self) -> Option<&'static str> {
        let changes = [
            ("dax", self.dax != Dax::default() && self.dax != mounted.dax),
            (
                "user_xattr",
                self.user_xattr
                    .is_some_and(|is_on| is_on != mounted.has_user_xattrs()),
            ),
            (
                "acl",
                self.acl.is_some_and(|is_on| is_on != mounted.has_acls()),
            ),
            (
                "cache_strategy",
                self.cache_strategy
                    .is_some_and(|strategy| strategy != mounted.cache_strategy()),
            ),
            (
                "device",
                !self.devices.is_empty() && !self.paths().eq(mounted.paths()),
            ),
            (
                "fsoffset",
                self.offset != 0 && self.offset != mounted.offset,
            ),
        ];
        let first = changes.iter().find(|(_, is_changed)| *is_changed);
        first.map(|(name, _)| *name)
    }

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
            (b"user_xattr", None) => self.user_xattr = Some(true),
            (b"nouser_xattr", None) => self.user_xattr = Some(false),
            (b"acl", None) => self.acl = Some(true),
            (b"noacl", None) => self.acl = Some(false),
            (b"cache_strategy", Some(b"disabled")) => {
                self.cache_strategy = Some(CacheStrategy::Disabled);
            }
            (b"cache_strategy", Some(b"readahead")) => {
                self.cache_strategy = Some(CacheStrategy::Readahead);
            }
            (b"cache_strategy", Some(b"readaround")) => {
                self.cache_strategy = Some(CacheStrategy::Readaround);
            }
            (b"device", Some([_, ..])) => {
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

    /// Writes the options as mountinfo shows them: how compressed data is cached only where there
    /// can be some.
    pub(super) fn show(&self, out: &SeqFile, is_compressed: bool) {
        let or_no = |is_on: bool| if is_on { "" } else { "no" };
        seq_print!(out, ",{}user_xattr", or_no(self.has_user_xattrs()));
        seq_print!(out, ",{}acl", or_no(self.has_acls()));
        if is_compressed {
            let strategy = match self.cache_strategy() {
                CacheStrategy::Disabled => "disabled",
                CacheStrategy::Readahead => "readahead",
                CacheStrategy::Readaround => "readaround",
            };
            seq_print!(out, ",cache_strategy={}", strategy);
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
            "wrong value of {}: use device=PATH of a /dev/erodaxN or DAX device, fsoffset=BYTES",
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
