// SPDX-License-Identifier: GPL-2.0

//! The bytes of regular files: reading, mapping, and filling the page cache.

use super::{
    inode::{Direct, Inode},
    Erofs,
};
use crate::{
    dax::{zero_iter, Run},
    vfs::{self, position_of, Fault, Outcome, Place},
};
use erodax_format::{flat::Extent, Error as FormatError};
use kernel::{
    iov::IovIterDest,
    page::{Page, PAGE_SIZE},
    prelude::*,
};

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
            let extent =
                inode
                    .disk
                    .extent_for(&*self.view, &self.sb, position + done as u64, asked);
            let (len, copied) = match extent.map_err(|error| self.report(inode.disk.nid, error))? {
                Extent::Data { offset, len, .. } => {
                    let len = len.min(asked);
                    let Some(part) = self.view.part(offset, len) else {
                        return Err(self.report(inode.disk.nid, FormatError::OutOfBounds));
                    };
                    (len, part.copy_to_iter(out))
                }
                Extent::Hole { len } => {
                    let len = len.min(asked);
                    (len, zero_iter(out, len))
                }
            };
            done += copied;
            if (copied as u64) < len {
                // The reader's memory faults from here on.
                break;
            }
        }
        if done == 0 && wanted > 0 {
            return Err(EFAULT);
        }
        Ok(done)
    }

    /// Fills memory with bytes from `position` on, and with zeros after the file's end.
    pub(super) fn fill_data(&self, inode: &Inode, position: u64, out: &mut [u8]) -> Result {
        let read = inode
            .disk
            .read_data(&*self.view, &self.sb, position, out)
            .map_err(|error| self.report(inode.disk.nid, error))?;
        out.iter_mut().skip(read).for_each(|byte| *byte = 0);
        Ok(())
    }

    /// Where the bytes from `position` on lie in the image.
    pub(super) fn extent_at(&self, inode: &Inode, position: u64) -> Result<vfs::Extent> {
        let disk = &inode.disk;
        let answer = disk.extent_at(&*self.view, &self.sb, position).and_then(|extent| {
            let tail = disk.inline_tail(&self.sb)?;
            Ok(match extent {
                Extent::Hole { len } => vfs::Extent {
                    len,
                    place: Place::Hole,
                },
                Extent::Data { offset, len, .. } => vfs::Extent {
                    len,
                    place: Place::Data {
                        address: offset,
                        is_inline: tail.is_some_and(|tail| tail.pos <= position),
                    },
                },
            })
        });
        answer.map_err(|error| self.report(disk.nid, error))
    }

    /// Answers a page fault: with the image's own pages, or with a copy of the last page.
    pub(super) fn map_data(&self, inode: &Inode, fault: &mut Fault<'_>) -> Outcome {
        let position = match position_of(fault.index()) {
            Some(position) if position < inode.disk.size => position,
            _ => return Outcome::NOTHING_THERE,
        };
        let Some(direct) = inode.direct else {
            return Outcome::NOTHING_THERE;
        };
        let run = Run {
            len: self.mappable(inode, position, direct),
            ..direct.run()
        };
        match self.view.map(fault, run) {
            Some(outcome) => outcome,
            None => match self.last_page(inode, position) {
                Ok(Some(page)) => fault.resolve(page),
                // Somebody else is just making it: the access is tried again.
                Ok(None) => Outcome::MAPPED,
                Err(error) => error.into(),
            },
        }
    }

    /// How many bytes can be mapped from where the blocks lie: all, and up to the end of the last page
    /// if that is what is wanted and nothing but zeros follow the file there.
    fn mappable(&self, inode: &Inode, position: u64, direct: Direct) -> u64 {
        let Direct { offset, len } = direct;
        let page_end = position.saturating_add(PAGE_SIZE as u64);
        if len != inode.disk.size || page_end <= len {
            return len;
        }
        let rest = self.view.part(offset.saturating_add(len), page_end - len);
        match rest {
            Some(rest) if rest.is_zero() => page_end,
            _ => len,
        }
    }

    /// The inode's copy of the page at `position`, made if there is none yet; None if another
    /// thread is making it.
    fn last_page<'a>(&self, inode: &'a Inode, position: u64) -> Result<Option<&'a Page>> {
        if position.saturating_add(PAGE_SIZE as u64) < inode.disk.size {
            // In the middle of the file: the image ends before it.
            return Err(self.report(inode.disk.nid, FormatError::OutOfBounds));
        }
        if inode.last_page.as_ref().is_none() {
            let page = vfs::new_page(|bytes| self.fill_data(inode, position, bytes))?;
            inode.last_page.populate(page);
        }
        Ok(inode.last_page.as_ref())
    }
}
