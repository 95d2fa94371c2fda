// SPDX-License-Identifier: GPL-2.0

//! The devices of a mounted image: the one with the metadata, and those of `device=`.

use super::{
    compressed::Compressed,
    error::errno,
    options::{Dax, Options},
};
use crate::{
    codec,
    dax::{SourceError, View},
    vfs::{self, Context},
};
use erodax_format::{
    inode::Inode,
    superblock::SuperBlock,
    volume::{DeviceSlot, Volume},
};
use kernel::{page::PAGE_SIZE, prelude::*, str::BStr};

/// The devices of one mounted image.
pub(super) struct Devices {
    primary: View,
    /// In the order of the device table, which begins with id 1; empty for a flat image.
    extra: KVec<(View, DeviceSlot)>,
    /// What decoding needs, if the image has compressed data.
    pub(super) compressed: Option<Compressed>,
}

impl Devices {
    /// Opens what the options name and reads the superblock, if the options allow to mount what
    /// lies there.
    pub(super) fn open(
        context: &Context<'_>,
        source: &CStr,
        claimer: vfs::SuperBlock,
        options: &Options,
    ) -> Result<(Self, SuperBlock)> {
        let shown = BStr::from_bytes(source.to_bytes());
        let fail = |error| {
            context.error(fmt!("{}: {}", shown, format_args!("{error}")));
            errno(error)
        };
        let credentials = context.credentials();
        let opened = View::of_source(source, claimer, credentials);
        let primary = said(context, source, opened)?
            .after(options.offset)
            .ok_or_else(|| {
                context.error(fmt!("{}: fsoffset is beyond the source's end", shown));
                EINVAL
            })?;
        let sb = SuperBlock::read(&primary).map_err(fail)?;
        if options.offset % u64::from(sb.block_size()) != 0 {
            context.error(fmt!("{}: fsoffset is no multiple of the block size", shown));
            return Err(EINVAL);
        }
        let (given, listed) = (options.devices.len(), usize::from(sb.extra_devices()));
        if given != 0 && given != listed {
            context.error(fmt!(
                "{}: the image has {} further devices, but device= was given {} times",
                shown,
                listed,
                given
            ));
            return Err(EINVAL);
        }
        let mut extra = KVec::with_capacity(given, GFP_KERNEL)?;
        for (id, path) in (1..).zip(&options.devices) {
            let view = said(context, path, View::open(path, claimer, credentials))?;
            let slot = sb.device_slot(&primary, id).map_err(fail)?;
            extra.push((view, slot), GFP_KERNEL)?;
        }
        if let Some(option) = codec::missing(sb.algorithms()) {
            context.error(fmt!(
                "{}: the image is compressed by an algorithm that this kernel lacks: it needs {}",
                shown,
                option
            ));
            return Err(EOPNOTSUPP);
        }
        let compressed = match sb.algorithms().is_empty() {
            true => None,
            false => Some(Compressed::new(&sb)?),
        };
        let devices = Self {
            primary,
            extra,
            compressed,
        };
        if options.dax == Dax::Always {
            devices.check_dax(context, shown, &sb)?;
        }
        Ok((devices, sb))
    }

    /// That `-o dax` can keep its promise.
    fn check_dax(&self, context: &Context<'_>, shown: &BStr, sb: &SuperBlock) -> Result {
        if let Some(view) = self.views().find(|view| !view.is_aligned()) {
            context.error(fmt!(
                "{}: the image begins {} bytes into a page, so -o dax cannot map it: put it at a \
                 multiple of {} (`erodax pack` does), or mount without dax",
                shown,
                view.offset_in_page(),
                PAGE_SIZE
            ));
            return Err(EINVAL);
        }
        if !self.views().all(View::has_pages) {
            context.error(fmt!(
                "{}: the device's memory has no pages, so -o dax cannot map it: make the pmem \
                 namespace with --mode=fsdax --map=dev, or mount without dax",
                shown
            ));
            return Err(EINVAL);
        }
        if sb.block_size() as usize != PAGE_SIZE {
            context.error(fmt!(
                "{}: blocks of {} bytes, so -o dax cannot map them: make the image with -b{}, or \
                 mount without dax",
                shown,
                sb.block_size(),
                PAGE_SIZE
            ));
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Whether every device begins at a page of memory that can be mapped.
    pub(super) fn are_mappable(&self) -> bool {
        self.views()
            .all(|view| view.is_aligned() && view.has_pages())
    }

    /// Whether pages are another driver's.
    pub(super) fn are_fsdax(&self) -> bool {
        self.views().any(View::is_fsdax)
    }

    /// The device of an extent.
    pub(super) fn view(&self, id: u16) -> Option<&View> {
        match id.checked_sub(1) {
            None => Some(&self.primary),
            Some(index) => self.extra.get(usize::from(index)).map(|(view, _)| view),
        }
    }

    pub(super) fn views(&self) -> impl Iterator<Item = &View> {
        let extra = self.extra.iter().map(|(view, _)| view);
        // By name: the prelude has another `chain`.
        Iterator::chain(core::iter::once(&self.primary), extra)
    }
}

impl Volume for Devices {
    type Device = View;

    #[inline]
    fn primary(&self) -> &View {
        &self.primary
    }

    #[inline]
    fn extra(&self, id: u16) -> Option<(&View, DeviceSlot)> {
        let (view, slot) = self.extra.get(usize::from(id.checked_sub(1)?))?;
        Some((view, *slot))
    }

    fn read_compressed(
        &self,
        sb: &SuperBlock,
        inode: &Inode,
        pos: u64,
        buf: &mut [u8],
    ) -> erodax_format::Result<()> {
        self.read_decoded(sb, inode, pos, buf)
    }
}

/// Tells the mounter why a device cannot be used.
pub(super) fn said<D>(
    context: &Context<'_>,
    path: &CStr,
    device: Result<D, SourceError>,
) -> Result<D> {
    device.map_err(|error| {
        context.error(fmt!("{}: {}", BStr::from_bytes(path.to_bytes()), error));
        error.errno()
    })
}
