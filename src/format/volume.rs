// SPDX-License-Identifier: GPL-2.0

//! The devices of one filesystem, and which of them an address means (`struct erofs_deviceslot`).
//!
//! An image can spread its data over more devices, which its device table lists. There are two ways
//! to read such an image, as in Linux's `erofs_map_dev()`:
//!
//! * *Flat*, if no further devices were given: the table says at which block of the image each
//!   device starts (`uniaddr`).
//! * With all devices given: an address names its device. One that names none, but is in the range
//!   that the table gives to a device, means that device.

use crate::features::incompat;
use crate::flat::Extent;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::{Error, Image, Result};
use core::mem::offset_of;
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// The part of a device's slot that says where its blocks are.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawRange {
    blocks_lo: le::U32,
    uniaddr_lo: le::U32,
    blocks_hi: le::U16,
    uniaddr_hi: le::U16,
}

/// `struct erofs_deviceslot`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawDeviceSlot {
    /// A digest or a name; Linux ignores it too if it is told where the device is.
    tag: [u8; 64],
    range: RawRange,
    reserved: [u8; 52],
}

/// Size of a slot, and the unit of `devt_slotoff`.
pub(crate) const SLOT_SIZE: u64 = 128;
const RANGE_OFFSET: u64 = 64;
const _: () = assert!(size_of::<RawDeviceSlot>() == 128);
const _: () = assert!(offset_of!(RawDeviceSlot, range) == 64);

/// What the device table says about one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlot {
    /// How many blocks it has.
    pub blocks: u64,
    /// The block of the flat image where it starts; 0 if it has no such place.
    pub uniaddr: u64,
}

/// The devices of one filesystem.
///
/// Every [`Image`] is a volume of its own, without further devices.
pub trait Volume {
    /// What the devices are.
    type Device: Image + ?Sized;

    /// The device that has the superblock and all metadata.
    fn primary(&self) -> &Self::Device;

    /// Further device `id`, if such devices were given, and its slot, which the caller read once
    /// with [`SuperBlock::device_slot`]. The first one has the id 1. The default is a volume that has
    /// none.
    #[inline]
    fn extra(&self, _id: u16) -> Option<(&Self::Device, DeviceSlot)> {
        None
    }

    /// The device of an [`Extent::Data`]; 0 is the primary one.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`] if there is no such device.
    #[inline]
    fn device(&self, id: u16) -> Result<&Self::Device> {
        match id {
            0 => Ok(self.primary()),
            _ => self
                .extra(id)
                .map(|(device, _)| device)
                .ok_or(Error::NoDevice),
        }
    }

    /// Fills `buf` with the decoded bytes of compressed file `inode` from byte `pos` on, all of which
    /// are before the end of the file.
    ///
    /// Decoders call this where they need the data of a compressed inode. An implementation finds
    /// the data with [`Inode::pcluster_at`] and decodes it; the default one has no decompressor.
    ///
    /// # Errors
    ///
    /// Those of [`Inode::pcluster_at`], and [`Error::Corrupt`] if the data does not decode.
    fn read_compressed(
        &self,
        _sb: &SuperBlock,
        _inode: &Inode,
        _pos: u64,
        _buf: &mut [u8],
    ) -> Result<()> {
        Err(Error::Unsupported("compressed data"))
    }
}

impl<I: Image + ?Sized> Volume for I {
    type Device = I;

    #[inline]
    fn primary(&self) -> &I {
        self
    }
}

impl SuperBlock {
    /// Reads what the device table says about device `id`, from 1 to
    /// [`extra_devices`](SuperBlock::extra_devices).
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`] for other ids, [`Error::OutOfBounds`] if the table is not in the image.
    pub fn device_slot(&self, image: &(impl Image + ?Sized), id: u16) -> Result<DeviceSlot> {
        let index = match id.checked_sub(1) {
            Some(index) if id <= self.extra_devices() => u64::from(index),
            _ => return Err(Error::NoDevice),
        };
        // Below 2^26, as both factors have 16 bits at most.
        let slot = self
            .device_table()
            .wrapping_add(index.wrapping_mul(SLOT_SIZE));
        let range: RawRange = image.read(slot.wrapping_add(RANGE_OFFSET))?;
        let is_wide = self.has_incompat(incompat::WIDE_ADDRESSES);
        let wide = |low: le::U32, high: le::U16| {
            let high = if is_wide { high.get() } else { 0 };
            (u64::from(high) << 32) | u64::from(low)
        };
        Ok(DeviceSlot {
            blocks: wide(range.blocks_lo, range.blocks_hi),
            uniaddr: wide(range.uniaddr_lo, range.uniaddr_hi),
        })
    }

    /// The extent of `len` bytes at byte `offset` of device `device`, both as the image states them;
    /// shorter if it reaches into another device.
    #[inline]
    pub(crate) fn locate<V: Volume + ?Sized>(
        &self,
        volume: &V,
        device: u16,
        offset: u64,
        len: u64,
    ) -> Result<Extent> {
        if self.extra_devices() == 0 {
            // The mask for ids leaves none but 0 then.
            return Ok(Extent::Data {
                device: 0,
                offset,
                len,
            });
        }
        self.locate_device(volume, device, offset, len)
    }

    #[inline(never)]
    fn locate_device<V: Volume + ?Sized>(
        &self,
        volume: &V,
        device: u16,
        offset: u64,
        len: u64,
    ) -> Result<Extent> {
        let is_flat = volume.extra(1).is_none();
        let (device, offset, len) = match device {
            0 if is_flat => (0, offset, len),
            0 => self.redirect(volume, offset, len)?,
            _ if is_flat => {
                let slot = self.device_slot(volume.primary(), device)?;
                let start = self.block_start(slot.uniaddr)?;
                let offset = start.checked_add(offset).ok_or(Error::OutOfBounds)?;
                (0, offset, len)
            }
            _ => {
                volume.device(device)?;
                (device, offset, len)
            }
        };
        Ok(Extent::Data {
            device,
            offset,
            len,
        })
    }

    /// Device, offset and length of what an address without a device means.
    fn redirect<V: Volume + ?Sized>(
        &self,
        volume: &V,
        offset: u64,
        len: u64,
    ) -> Result<(u16, u64, u64)> {
        let mut len = len;
        for id in 1..=self.extra_devices() {
            let Some((_, slot)) = volume.extra(id) else {
                break;
            };
            if slot.uniaddr == 0 {
                continue;
            }
            let start = self.block_start(slot.uniaddr)?;
            let end = self.block_start(slot.uniaddr.saturating_add(slot.blocks))?;
            match offset.checked_sub(start) {
                Some(inside) if offset < end => {
                    return Ok((id, inside, len.min(end.saturating_sub(offset))));
                }
                Some(_) => {}
                None => len = len.min(start.saturating_sub(offset)),
            }
        }
        Ok((0, offset, len))
    }
}

#[cfg(test)]
mod tests;
