// SPDX-License-Identifier: GPL-2.0

//! Which mounts are one filesystem.

use super::{
    options::{Dax, Options},
    volume::said,
};
use crate::{dax::DeviceId, vfs::Context};
use kernel::prelude::*;

/// The bytes that are mounted, and the options that make a difference to those who use them.
#[derive(PartialEq)]
pub(crate) struct Identity {
    /// The source, and what `device=` names.
    devices: KVec<DeviceId>,
    offset: u64,
    dax: Dax,
    has_user_xattrs: bool,
    has_acls: bool,
}

impl Identity {
    pub(super) fn of(context: &Context<'_>, source: &CStr, options: &Options) -> Result<Self> {
        let mut devices = KVec::with_capacity(1 + options.devices.len(), GFP_KERNEL)?;
        devices.push(said(context, source, DeviceId::of(source))?, GFP_KERNEL)?;
        for path in &options.devices {
            devices.push(said(context, path, DeviceId::of(path))?, GFP_KERNEL)?;
        }
        Ok(Self {
            devices,
            offset: options.offset,
            dax: options.dax,
            has_user_xattrs: options.has_user_xattrs(),
            has_acls: options.has_acls(),
        })
    }
}
