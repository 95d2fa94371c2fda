// SPDX-License-Identifier: GPL-2.0

//! The page cache, for files whose memory cannot be mapped as it is.

use super::{inode::InodeCell, span::Span, super_block, trace, FileSystem};
use crate::bindings;
use core::{marker::PhantomData, ops::Range, ptr, slice};
use kernel::{error::from_result, ffi::c_int, page::PAGE_SIZE, prelude::*};

/// The address-space operations of files that have no page cache at all.
pub(super) const NONE: &bindings::address_space_operations = &bindings::address_space_operations {
    dirty_folio: Some(bindings::noop_dirty_folio),
    ..pin_init::zeroed()
};

/// The address-space operations of the inodes of `T` that have data.
///
/// Also files that are mapped directly have them: uprobes read through `read_folio`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const TABLE: &'static bindings::address_space_operations =
        &bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            readahead: Some(Self::readahead),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the page cache with a locked folio, not up to date, of a file of `T`.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: By this function's own requirements.
        from_result(|| unsafe {
            trace::read_folio::<T>(folio);
            let (start, end) = range_of(folio);
            let inode = bindings::erodax_folio_inode(folio);
            let fs = super_block::instance::<T>((*inode).i_sb);
            let around = match fs.attributes(InodeCell::<T>::data(inode)).is_compressed {
                true => start - start % AROUND..end.next_multiple_of(AROUND),
                false => start..end,
            };
            let together = together::<T>(inode, around);
            let mut folios = Together::new(folio);
            folios.add_around(together);
            fill::<T, _>(folios).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the page cache with locked folios, not up to date, of a file of `T`.
    unsafe extern "C" fn readahead(request: *mut bindings::readahead_control) {
        // SAFETY: By this function's own requirements.
        unsafe {
            trace::readahead::<T>(request);
            let start = bindings::erodax_readahead_pos(request) as u64;
            let end = start + bindings::erodax_readahead_length(request) as u64;
            let inode = (*(*request).mapping).host;
            let together = together::<T>(inode, start..end);
            // Behind it first: a page before it that is there already stops the expansion.
            if together.end > end {
                let len = (together.end - start) as usize;
                bindings::readahead_expand(request, start as i64, len);
            }
            if together.start < start {
                let len = (together.end - together.start) as usize;
                bindings::readahead_expand(request, together.start as i64, len);
            }
            // What is left of the request is unlocked by the caller. Who needs these bytes meets
            // the error.
            let _ = fill::<T, _>(Request(request));
        }
    }
}

/// What is filled around a folio of a compressed file that nothing was read ahead for, as in a
/// mapping that is used at random: sooner or later most of it is wanted, and a page at the border of
/// two extents needs both decoded.
const AROUND: u64 = 64 << 10;

/// The pages that are best filled together with these, as bytes of the file.
///
/// # Safety
///
/// `inode` must be a file of `T`.
unsafe fn together<T: FileSystem>(inode: *mut bindings::inode, wanted: Range<u64>) -> Range<u64> {
    const PAGE: u64 = PAGE_SIZE as u64;
    // SAFETY: By the caller's promise.
    let (fs, data, size) = unsafe {
        (
            super_block::instance::<T>((*inode).i_sb),
            InodeCell::<T>::data(inode),
            (*inode).i_size as u64,
        )
    };
    let range = fs.together(data, wanted.start..wanted.end.min(size));
    // Whole pages of it; and the last one, what follows the file's end being zeros.
    let last = size.next_multiple_of(PAGE);
    let end = match range.end >= size {
        true => last,
        false => range.end - range.end % PAGE,
    };
    let start = range.start.next_multiple_of(PAGE);
    start.min(wanted.start)..end.max(wanted.end.min(last))
}

/// Fills folios of a file of `T` and unlocks them; the error is that of the folios that somebody
/// waits for.
///
/// # Safety
///
/// The folios must be of a file of `T`.
unsafe fn fill<T: FileSystem, F: Folios>(folios: F) -> Result {
    let mut writer = FolioWriter::new(folios);
    if writer.folio.is_null() {
        return Ok(());
    }
    // SAFETY: By the caller's promise.
    let (fs, data) = unsafe {
        let inode = bindings::erodax_folio_inode(writer.folio);
        (
            super_block::instance::<T>((*inode).i_sb),
            InodeCell::<T>::data(inode),
        )
    };
    let wanted = writer.folios.wanted();
    let mut filled = fs.fill(data, &mut writer);
    if filled.is_err() && writer.position() < wanted.start {
        // What is damaged before them is not missing from them.
        writer.skip_to(wanted.start);
        filled = fs.fill(data, &mut writer);
    }
    match filled {
        Err(_) if writer.position() >= wanted.end => Ok(()),
        filled => filled,
    }
}

/// First byte of the file in a folio, and the one behind its last.
///
/// # Safety
///
/// `folio` must be valid and in the page cache.
unsafe fn range_of(folio: *mut bindings::folio) -> (u64, u64) {
    // SAFETY: By the caller's promise.
    unsafe {
        let start = bindings::erodax_folio_pos(folio) as u64;
        (start, start + bindings::erodax_folio_size(folio) as u64)
    }
}

/// Numbers of the pages of the file in a folio.
///
/// # Safety
///
/// `folio` must be valid and in the page cache.
unsafe fn pages_of(folio: *mut bindings::folio) -> Range<u64> {
    // SAFETY: By the caller's promise.
    let (start, end) = unsafe { range_of(folio) };
    start / PAGE_SIZE as u64..end / PAGE_SIZE as u64
}

/// Locked folios that are not up to date, in their order and without a gap.
pub(super) trait Folios {
    /// Byte of the file behind the last one.
    fn end(&self) -> u64;

    /// Which bytes of the file somebody waits for.
    fn wanted(&self) -> Range<u64>;

    /// The next one; null if there is none. It is the caller's to be unlocked.
    fn next(&mut self) -> *mut bindings::folio;

    /// That one of them is unlocked.
    fn release(&mut self, folio: *mut bindings::folio);
}

/// Those of a request for readahead.
///
/// # Invariants
///
/// The pointer is such a request, in the `readahead` that it was made for.
struct Request(*mut bindings::readahead_control);

impl Folios for Request {
    fn end(&self) -> u64 {
        // SAFETY: Valid by the invariant.
        unsafe {
            let start = bindings::erodax_readahead_pos(self.0) as u64;
            start + bindings::erodax_readahead_length(self.0) as u64
        }
    }

    fn wanted(&self) -> Range<u64> {
        // No more those in front than others.
        0..self.end()
    }

    fn next(&mut self) -> *mut bindings::folio {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::erodax_readahead_folio(self.0) }
    }

    fn release(&mut self, _folio: *mut bindings::folio) {
        // The request has dropped its reference already; the lock has kept the folio.
    }
}

/// A folio that is wanted, and new ones around it.
///
/// # Invariants
///
/// `mapping` is that of `wanted`. The folios of `pages` are locked and in the page cache; all but
/// `wanted` have a reference of ours.
struct Together {
    wanted: *mut bindings::folio,
    wanted_range: Range<u64>,
    mapping: *mut bindings::address_space,
    pages: Range<u64>,
}

impl Together {
    /// # Safety
    ///
    /// `wanted` must be locked and in the page cache; its caller has a reference.
    unsafe fn new(wanted: *mut bindings::folio) -> Self {
        // SAFETY: By the caller's promise.
        let (mapping, pages) =
            unsafe { (bindings::erodax_folio_mapping(wanted), pages_of(wanted)) };
        let page = PAGE_SIZE as u64;
        // INVARIANT: By the caller's promise.
        Self {
            wanted,
            wanted_range: pages.start * page..pages.end * page,
            mapping,
            pages,
        }
    }

    /// Adds pages of a range, from the wanted folio on in both directions, up to the first one
    /// that the page cache has already, or that there is no memory for.
    fn add_around(&mut self, range: Range<u64>) {
        let page = PAGE_SIZE as u64;
        // INVARIANT: The new folios are locked, with a reference.
        while self.pages.end < range.end / page && self.add(self.pages.end) {
            self.pages.end += 1;
        }
        while self.pages.start > range.start / page && self.add(self.pages.start - 1) {
            self.pages.start -= 1;
        }
    }

    /// Adds a folio of one page to the page cache, locked, with a reference; returns whether it is
    /// there.
    fn add(&self, index: u64) -> bool {
        // SAFETY: The mapping is that of a folio that is locked, and so stays.
        unsafe { bindings::erodax_add_folio(self.mapping, index as usize) }
    }
}

impl Folios for Together {
    fn end(&self) -> u64 {
        self.pages.end * PAGE_SIZE as u64
    }

    fn wanted(&self) -> Range<u64> {
        self.wanted_range.clone()
    }

    fn next(&mut self) -> *mut bindings::folio {
        if self.pages.is_empty() {
            return ptr::null_mut();
        }
        // SAFETY: By the invariant there is a folio, which nobody can take away while it is locked.
        unsafe {
            let folio = bindings::erodax_locked_folio(self.mapping, self.pages.start as usize);
            self.pages.start = pages_of(folio).end;
            folio
        }
    }

    fn release(&mut self, folio: *mut bindings::folio) {
        if folio != self.wanted {
            // SAFETY: The reference is ours by the invariant.
            unsafe { bindings::erodax_folio_put(folio) };
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        loop {
            let folio = self.next();
            if folio.is_null() {
                return;
            }
            // SAFETY: Locked by the invariant.
            unsafe { bindings::erodax_folio_end_read(folio, false) };
            self.release(folio);
        }
    }
}

/// Where a file's bytes are written to in the page cache: folios, one after the other.
///
/// # Invariants
///
/// `folio` is null or a locked folio, not up to date, of which the first `written` bytes are
/// written.
pub(crate) struct FolioWriter<F: Folios> {
    folios: F,
    end: u64,
    folio: *mut bindings::folio,
    written: usize,
}

impl<F: Folios> FolioWriter<F> {
    fn new(mut folios: F) -> Self {
        let end = folios.end();
        // INVARIANT: Folios are such ones.
        let folio = folios.next();
        Self {
            folios,
            end,
            folio,
            written: 0,
        }
    }

    /// Goes on with the folio that begins at this byte of the file, or the first one behind it; those
    /// before it stay as they are.
    fn skip_to(&mut self, start: u64) {
        while !self.folio.is_null() && self.position() - (self.written as u64) < start {
            self.end_read(false);
            // INVARIANT: Folios are such ones.
            self.folio = self.folios.next();
            self.written = 0;
        }
    }

    fn end_read(&mut self, success: bool) {
        // SAFETY: Locked by the invariant; this unlocks it.
        unsafe { bindings::erodax_folio_end_read(self.folio, success) };
        self.folios.release(self.folio);
    }
}

/// Somewhere that bytes of a file are written to in their order.
pub(crate) trait Writer {
    /// Which byte of the file comes next.
    fn position(&self) -> u64;

    /// The byte behind the last one that is wanted.
    fn end(&self) -> u64;

    /// Where it goes, and those behind it: as many as are together there. Empty if no more are
    /// wanted.
    fn buffer(&mut self) -> &mut [u8];

    /// Says that the next `len` bytes are written.
    fn advance(&mut self, len: usize);

    /// Makes one piece of the next `len` bytes, and of `before` bytes before them, which are not
    /// wanted; None if that is not possible, or not worth it.
    fn span(&mut self, _before: usize, _len: usize) -> Option<Span> {
        None
    }

    /// Has the next `len` bytes written in one go, if they can be had in one piece: `write` gets
    /// the place for `before` bytes, which are not wanted, and for them.
    fn write_together<E>(
        &mut self,
        before: usize,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let written = match self.buffer().get_mut(..len) {
            Some(buffer) if before == 0 => write(buffer),
            // Unmapped when this is done, before anybody else may see the pages.
            _ => write(self.span(before, len)?.bytes()),
        };
        if written.is_ok() {
            self.advance(len);
        }
        Some(written)
    }
}

impl<F: Folios> Writer for FolioWriter<F> {
    fn position(&self) -> u64 {
        if self.folio.is_null() {
            return u64::MAX;
        }
        // SAFETY: Valid by the invariant.
        unsafe { range_of(self.folio) }.0 + self.written as u64
    }

    fn end(&self) -> u64 {
        self.end
    }

    fn buffer(&mut self) -> &mut [u8] {
        if self.folio.is_null() {
            return &mut [];
        }
        // SAFETY: Valid by the invariant, and in lowmem. While it is locked and not up to date
        // nobody else looks at its bytes, which are arbitrary.
        let bytes = unsafe {
            let address = bindings::erodax_folio_address(self.folio).cast::<u8>();
            slice::from_raw_parts_mut(address, bindings::erodax_folio_size(self.folio))
        };
        bytes.get_mut(self.written..).unwrap_or_default()
    }

    fn advance(&mut self, mut len: usize) {
        loop {
            let room = self.buffer().len();
            if len < room || room == 0 {
                self.written += len;
                return;
            }
            len -= room;
            self.end_read(true);
            // INVARIANT: Folios are such ones.
            self.folio = self.folios.next();
            self.written = 0;
        }
    }

    fn span(&mut self, before: usize, len: usize) -> Option<Span> {
        let position = self.position();
        if position.checked_add(len as u64)? > self.end {
            return None;
        }
        // SAFETY: The folios of what is wanted are locked until they are released. Nobody else
        // looks at their bytes while they are not up to date, and what comes before the position
        // stays as it is.
        unsafe {
            let mapping = bindings::erodax_folio_mapping(self.folio);
            Span::new(mapping, position, before, len)
        }
    }
}

impl<F: Folios> Drop for FolioWriter<F> {
    fn drop(&mut self) {
        if !self.folio.is_null() {
            self.end_read(false);
        }
    }
}
