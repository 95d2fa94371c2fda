// SPDX-License-Identifier: GPL-2.0

//! The bytes of regular files: reading, mapping, and filling the page cache.

use super::{compressed::SliceWriter, error::errno, inode::Inode, Erofs};
use crate::{
    dax::{zero_iter, Run, View},
    vfs::{
        self, position_of,
        trace::{self, Asker, MapBlocks},
        DaxExtent, Fault, Form, Outcome, Place, Writer,
    },
};
use core::ops::Range;
use erodax_format::{flat::Extent, inode::Layout, Error as FormatError};
use kernel::{
    iov::IovIterDest,
    page::{BorrowedPage, Page, PAGE_SIZE},
    prelude::*,
};

const PAGE: u64 = PAGE_SIZE as u64;

/// What lies behind a page of a file that is mapped directly.
enum Backing<'a> {
    /// A run of a device that the page is in, though perhaps not with all of its bytes.
    Run(&'a View, Run),
    /// Nothing: it reads as zeros.
    Hole,
}

impl Erofs {
    /// Copies bytes from `position` on straight from the image; returns how many.
    pub(super) fn read_data(
        &self,
        inode: &Inode,
        position: u64,
        out: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let left = inode.disk.size.saturating_sub(position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let mut done = 0;
        while done < wanted {
            let asked = (wanted - done) as u64;
            let at = position + done as u64;
            if inode.disk.is_decoded(&self.sb) && at >= inode.blocks_len(&self.sb) {
                done += self.read_decoded_tail(inode, at, asked, out)?;
                break;
            }
            let extent = self.extent(inode, at, asked, Asker::Access)?;
            let (len, copied) = match extent {
                Extent::Data {
                    device,
                    offset,
                    len,
                } => {
                    let len = len.min(asked);
                    let view = self.devices.view(device).ok_or(FormatError::NoDevice);
                    match view.and_then(|view| view.copy_to_iter(offset, len, out)) {
                        Ok(copied) => (len, copied),
                        // Who goes on from here meets the error.
                        Err(FormatError::Volume(_)) if done > 0 => break,
                        Err(error) => return Err(self.report(inode.disk.nid, error)),
                    }
                }
                Extent::Hole { len } => {
                    let len = len.min(asked);
                    (len, zero_iter(out, len))
                }
            };
            done += copied;
            if (copied as u64) < len {
                // The reader's memory faults from here on, or the image's is lost.
                break;
            }
        }
        if done == 0 && wanted > 0 {
            return Err(EFAULT);
        }
        Ok(done)
    }

    /// Copies `len` bytes of an inline tail in compressed metadata; returns how many of them the
    /// reader's memory took.
    fn read_decoded_tail(
        &self,
        inode: &Inode,
        position: u64,
        len: u64,
        out: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        // Not longer than a block.
        let mut tail = KVec::from_elem(0, len as usize, GFP_KERNEL)?;
        let disk = &inode.disk;
        let read = disk
            .read_data(&self.devices, &self.sb, position, &mut tail)
            .map_err(|error| self.report(disk.nid, error))?;
        Ok(out.copy_to_iter(tail.get(..read).unwrap_or_default()))
    }

    /// Writes a file's bytes to the page cache, and zeros after its end.
    pub(super) fn fill_data(&self, inode: &Inode, out: &mut impl Writer) -> Result {
        let written = match inode.disk.layout.is_compressed() {
            true => self
                .map_of(inode)
                .and_then(|map| map.write(inode.disk.size.min(out.end()), out)),
            false => self.copy_to(inode, out),
        };
        written.map_err(|error| self.report(inode.disk.nid, error))?;
        loop {
            let rest = out.buffer();
            if rest.is_empty() {
                return Ok(());
            }
            rest.fill(0);
            let len = rest.len();
            out.advance(len);
        }
    }

    /// Copies what is wanted of a file that is not compressed.
    fn copy_to(&self, inode: &Inode, out: &mut impl Writer) -> Result<(), FormatError> {
        while out.position() < inode.disk.size {
            let position = out.position();
            let buffer = out.buffer();
            let read = inode
                .disk
                .read_data(&self.devices, &self.sb, position, buffer)?;
            if read == 0 {
                break;
            }
            out.advance(read);
        }
        Ok(())
    }

    /// The bytes that are best filled together with these: those of the same pclusters.
    pub(super) fn filled_together(&self, inode: &Inode, wanted: Range<u64>) -> Range<u64> {
        if !inode.disk.layout.is_compressed() || wanted.is_empty() {
            return wanted;
        }
        let range = self
            .map_of(inode)
            .and_then(|map| map.together(wanted.clone()));
        // Who reads them meets the error.
        range.unwrap_or(wanted)
    }

    fn extent(&self, inode: &Inode, position: u64, wanted: u64, asker: Asker) -> Result<Extent> {
        let (device, nid) = (self.device_number, inode.disk.nid);
        trace::map_blocks_enter(device, nid, position, wanted, asker);
        let extent = inode
            .disk
            .extent_for(&self.devices, &self.sb, position, wanted);
        trace::map_blocks_exit(device, nid, asker, || {
            let map = self.traced(inode, position, extent);
            (map, extent.map(drop).map_err(errno))
        });
        extent.map_err(|error| self.report(nid, error))
    }

    /// An extent as trace events have it.
    fn traced(
        &self,
        inode: &Inode,
        position: u64,
        extent: Result<Extent, FormatError>,
    ) -> MapBlocks {
        let mut map = MapBlocks {
            la: position,
            ..MapBlocks::default()
        };
        match extent {
            Ok(Extent::Data {
                device,
                offset,
                len,
            }) => {
                (map.pa, map.llen, map.plen) = (offset, len, len);
                map.deviceid = device.into();
                map.mflags = MapBlocks::MAPPED;
                if position >= inode.blocks_len(&self.sb) {
                    map.mflags |= MapBlocks::META;
                }
            }
            Ok(Extent::Hole { len }) => map.llen = len,
            Err(_) => {}
        }
        map
    }

    /// Where the bytes from `position` on lie in their device.
    pub(super) fn place_at(&self, inode: &Inode, position: u64) -> Result<vfs::Extent> {
        if inode.disk.layout.is_compressed() {
            return self
                .map_of(inode)
                .and_then(|map| map.place_at(position, self.options.offset))
                .map_err(|error| self.report(inode.disk.nid, error));
        }
        let disk = &inode.disk;
        let tail = disk
            .inline_tail(&self.sb)
            .map_err(|error| self.report(disk.nid, error))?;
        let is_inline = tail.is_some_and(|tail| tail.pos <= position);
        if is_inline && disk.in_metabox() && position < disk.size {
            // The metabox is a file, perhaps a compressed one, and what is in it has no address of
            // its own.
            return Ok(vfs::Extent {
                before: 0,
                len: disk.size - position,
                place: Place::Data {
                    address: 0,
                    form: Form::Inline,
                },
            });
        }
        let (device, offset, len) = match self.extent(inode, position, u64::MAX, Asker::Report)? {
            Extent::Hole { len } => {
                return Ok(vfs::Extent {
                    before: 0,
                    len,
                    place: Place::Hole,
                })
            }
            Extent::Data {
                device,
                offset,
                len,
            } => (device, offset, len),
        };
        let before = match device {
            0 => self.options.offset,
            _ => 0,
        };
        Ok(vfs::Extent {
            before: 0,
            len,
            place: Place::Data {
                address: offset.saturating_add(before),
                form: match is_inline {
                    true => Form::Inline,
                    false => Form::Blocks,
                },
            },
        })
    }

    /// Answers a page fault: with the image's own pages, or with a copy of the last page.
    pub(super) fn map_data(&self, inode: &Inode, fault: &mut Fault<'_>) -> Outcome {
        let position = match position_of(fault.index()) {
            Some(position) if position < inode.disk.size => position,
            _ => return Outcome::NOTHING_THERE,
        };
        let mapped = match self.backing(inode, position, PAGE) {
            Ok(Backing::Hole) => return fault.resolve(&self.zero_page),
            Ok(Backing::Run(view, _)) if view.is_gone() => return Outcome::NOTHING_THERE,
            // What is no page to `fs/dax.c` is none that can be mapped from the device at all.
            Ok(Backing::Run(_, _)) if self.maps_through_dax() => None,
            Ok(Backing::Run(view, run)) => view.map(fault, run),
            Err(error) => return error.into(),
        };
        if let Some(outcome) = mapped {
            return outcome;
        }
        match self.last_page(inode, position) {
            Ok(Some(page)) => fault.resolve(page),
            // Somebody else is just making it: the access is tried again.
            Ok(None) => Outcome::MAPPED,
            Err(error) => error.into(),
        }
    }

    /// What `fs/dax.c` may map from `position` on, of which `len` bytes are asked for.
    pub(super) fn extent_of_device(
        &self,
        inode: &Inode,
        position: u64,
        len: u64,
    ) -> Option<DaxExtent> {
        if !self.maps_through_dax() || position >= inode.disk.size {
            return None;
        }
        match self.backing(inode, position, len).ok()? {
            Backing::Run(view, run) => view.dax_extent(run, position),
            Backing::Hole => None,
        }
    }

    /// Page `index` of a file that is mapped directly, if it lies in the image as a page.
    pub(super) fn page_of(&self, inode: &Inode, index: u64) -> Option<BorrowedPage<'_>> {
        let position = position_of(index).filter(|&position| position < inode.disk.size)?;
        match self.backing(inode, position, PAGE).ok()? {
            // A reader is not shown more than the file, so nothing is looked at here that
            // follows the file in its last page.
            Backing::Run(view, run) => view.page(run, index),
            Backing::Hole => None,
        }
    }

    /// What is behind the page at `position`, which is before the file's end, and behind those
    /// that follow, as far as they are in the next `wanted` bytes.
    fn backing(&self, inode: &Inode, position: u64, wanted: u64) -> Result<Backing<'_>> {
        // The blocks of a flat file are one run, so that also pages before this one can be
        // mapped; of chunks only what follows is known.
        let start = match inode.disk.layout {
            Layout::FlatPlain => 0,
            Layout::FlatInline if inode.blocks_len(&self.sb) > position => 0,
            _ => position,
        };
        let (device, offset, len) =
            match self.extent(inode, start, position - start + wanted, Asker::Access)? {
                Extent::Data {
                    device,
                    offset,
                    len,
                } => (device, offset, len),
                Extent::Hole { len } if is_page_of(position - start, len, inode, position) => {
                    return Ok(Backing::Hole)
                }
                // A hole ends inside the page: its bytes are put together as a last page's are.
                Extent::Hole { .. } => (0, 0, 0),
            };
        let Some(view) = self.devices.view(device) else {
            return Err(self.report(inode.disk.nid, FormatError::NoDevice));
        };
        let run = Run {
            position: start,
            offset,
            len,
        };
        Ok(Backing::Run(
            view,
            self.with_zeros(view, inode, position.saturating_add(wanted), run),
        ))
    }

    /// The run with the rest of the file's last page, if that is among what is wanted, up to `end`,
    /// and nothing but zeros follow the file there. (Who wants a lost page is told by the fault.)
    fn with_zeros(&self, view: &View, inode: &Inode, end: u64, run: Run) -> Run {
        let run_end = run.position.saturating_add(run.len);
        let rest = run_end.wrapping_neg() % PAGE;
        let is_last = run_end == inode.disk.size && end > run_end;
        if is_last && view.hides_nothing(run.offset.saturating_add(run.len), rest) {
            Run {
                len: run.len + rest,
                ..run
            }
        } else {
            run
        }
    }

    /// The inode's copy of the page at `position`, made if there is none yet; None if another
    /// thread is making it.
    fn last_page<'a>(&self, inode: &'a Inode, position: u64) -> Result<Option<&'a Page>> {
        if position.saturating_add(PAGE) < inode.disk.size {
            // In the middle of the file: the image ends before it.
            return Err(self.report(inode.disk.nid, FormatError::OutOfBounds));
        }
        if inode.last_page.as_ref().is_none() {
            let page = vfs::new_page(|bytes| {
                self.fill_data(inode, &mut SliceWriter::new(position, bytes))
            })?;
            inode.last_page.populate(page);
        }
        Ok(inode.last_page.as_ref())
    }
}

/// Whether a hole of `len` bytes, of which `skipped` are before the page at `position`, has all
/// of the page, or all of it up to the file's end.
fn is_page_of(skipped: u64, len: u64, inode: &Inode, position: u64) -> bool {
    let left = inode.disk.size - position;
    len.saturating_sub(skipped) >= PAGE.min(left)
}
