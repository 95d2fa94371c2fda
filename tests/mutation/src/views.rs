// SPDX-License-Identifier: GPL-2.0

//! Ways to look at the bytes of an image.

mod decoded;

pub(crate) use decoded::Decoded;

use erodax_format::superblock::SuperBlock;
use erodax_format::volume::DeviceSlot;
use erodax_format::{Image, Result, Volume};
use std::cell::{Cell, RefCell};

/// An image with nothing but what the trait requires, so that the trait's own methods are used.
pub(crate) struct Minimal<'a>(pub(crate) &'a [u8]);

impl Image for Minimal<'_> {
    fn len(&self) -> u64 {
        Image::len(self.0)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }
}

/// An image whose bytes change under the reader, as memory can that somebody else writes to.
pub(crate) struct Unsteady<'a> {
    bytes: &'a [u8],
    rng: RefCell<fastrand::Rng>,
}

impl<'a> Unsteady<'a> {
    pub(crate) fn new(bytes: &'a [u8], seed: u64) -> Self {
        Unsteady {
            bytes,
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }
}

impl Image for Unsteady<'_> {
    fn len(&self) -> u64 {
        Image::len(self.bytes)
    }

    /// Every eighth read sees a byte that the others don't.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.read_at(offset, buf)?;
        let mut rng = self.rng.borrow_mut();
        if !buf.is_empty() && rng.u8(..8) == 0 {
            let place = rng.usize(..buf.len());
            buf[place] = rng.u8(..);
        }
        Ok(())
    }
}

/// An image with all of its devices given, of which each has the image's own bytes.
pub(crate) struct Spread<'a> {
    bytes: &'a [u8],
    slots: Vec<DeviceSlot>,
}

impl<'a> Spread<'a> {
    /// As many devices as the superblock says, if they are not more than `max`.
    pub(crate) fn new(bytes: &'a [u8], sb: &SuperBlock, max: u16) -> Self {
        let ids = 1..=sb.extra_devices().min(max);
        let slots = ids.map_while(|id| sb.device_slot(bytes, id).ok());
        Spread {
            bytes,
            slots: slots.collect(),
        }
    }
}

impl Volume for Spread<'_> {
    type Device = [u8];

    fn primary(&self) -> &[u8] {
        self.bytes
    }

    fn extra(&self, id: u16) -> Option<(&[u8], DeviceSlot)> {
        let slot = self.slots.get(usize::from(id).checked_sub(1)?)?;
        // Devices of different sizes.
        let start = self.bytes.len().min(usize::from(id) * 512);
        Some((&self.bytes[start..], *slot))
    }
}

/// An image that counts how often it is read.
pub(crate) struct Counting<'a> {
    bytes: &'a [u8],
    reads: Cell<u64>,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Counting {
            bytes,
            reads: Cell::new(0),
        }
    }

    /// How often since the last time that this was asked.
    pub(crate) fn take(&self) -> u64 {
        self.reads.take()
    }
}

impl Image for Counting<'_> {
    fn len(&self) -> u64 {
        Image::len(self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_at(offset, buf)
    }
}
