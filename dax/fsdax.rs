// SPDX-License-Identifier: GPL-2.0

//! DAX devices of other drivers: pmem block devices and their partitions, and character devices
//! of the driver `fsdev_dax`.
//!
//! Their pages belong to a driver that has made them for filesystems: they rest without a
//! reference, `fs/dax.c` keeps records in them, and the driver may be unbound below a mount. So
//! memory is only looked at while the device is alive, and a page is in user mappings either
//! through `fs/dax.c` ([`FsDax::extent`]) or by insertions of our own ([`FsDax::map`]), but
//! never through both: the filesystem decides for one way for all of a mount.
//!
//! Locks: `dax_read_lock` around each look at the memory, which `kill_dax` waits for; `HOLDERS`
//! around the end of a claim, so that a device that goes finds the superblock or none.

use super::{mapping::Run, memory::Memory, source::SourceError};
use crate::{
    bindings,
    vfs::{DaxExtent, Fault, Outcome, SuperBlock},
};
use core::{
    ops::Deref,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_long},
    page::{BorrowedPage, Page, PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
};

/// Pages that one fault maps at most, as the page cache's fault-around does (64 KiB).
const WINDOW: u64 = 16;

kernel::sync::global_lock! {
    // SAFETY: Initialized in `init`, before anything can be mounted.
    unsafe(uninit) static HOLDERS: Mutex<()> = ();
}

/// To be called once, when the module is loaded.
pub(super) fn init() {
    // SAFETY: Called once, before the lock is used.
    unsafe { HOLDERS.init() };
}

/// The memory of a DAX device, claimed for one mount.
///
/// # Invariants
///
/// 1. `device` is a DAX device, referenced, and claimed as `claim` says.
/// 2. While the device is alive and claimed, `memory` is mapped in one piece, begins at byte
///    `start` of the device, which is a multiple of the page size, and its first page is
///    `first_pfn`. Whatever the lifetime of `memory` says, it is looked at only then.
/// 3. If `has_pages`, these pages were made for `fs/dax.c`, and as long as the device is alive
///    or pages are lent they stay.
pub(super) struct FsDax {
    device: NonNull<bindings::dax_device>,
    start: u64,
    memory: Memory<'static>,
    first_pfn: usize,
    has_pages: bool,
    /// The device goes, or is gone: nothing may be mapped any more.
    is_gone: AtomicBool,
    /// Whether pages were inserted without `fs/dax.c`, which thus does not wait for them.
    has_lent: AtomicBool,
    claim: Claim,
}

// SAFETY: The DAX core locks its devices; the rest is plain data or atomic.
unsafe impl Send for FsDax {}
// SAFETY: As above.
unsafe impl Sync for FsDax {}

/// How a device is kept from others.
enum Claim {
    /// The block device is open for the mount alone, by the VFS or by us.
    Disk { _opened: Option<Disk> },
    /// The superblock is the DAX device's holder.
    Holder(SuperBlock),
}

impl FsDax {
    /// The memory of the block device that is mounted, if it is one.
    pub(super) fn mounted(sb: SuperBlock) -> Option<Result<Self, SourceError>> {
        let disk = NonNull::new(sb.disk())?;
        // SAFETY: The superblock holds its block device.
        Some(unsafe { Self::of_disk(disk, None) })
    }

    /// The memory of a further block device.
    pub(super) fn further(path: &CStr, sb: SuperBlock) -> Result<Self, SourceError> {
        let disk = Disk::open(path, sb)?;
        // SAFETY: `disk` is open and kept so.
        unsafe { Self::of_disk(disk.raw()?, Some(disk)) }
    }

    /// # Safety
    ///
    /// `disk` must be open for as long as the value exists: by `opened`, or else by the caller.
    unsafe fn of_disk(
        disk: NonNull<bindings::block_device>,
        opened: Option<Disk>,
    ) -> Result<Self, SourceError> {
        let disk = disk.as_ptr();
        let mut start = 0;
        // SAFETY: An open block device. Whoever has written to it through its page cache is
        // in time: memory is looked at from here on.
        let (size, device) = unsafe {
            if !bindings::erodax_bdev_has_dax(disk) {
                return Err(SourceError::NotDax);
            }
            let size = bindings::erodax_bdev_size(disk);
            if (bindings::erodax_bdev_start(disk) | size) % PAGE_SIZE as u64 != 0 {
                return Err(SourceError::UnalignedPartition);
            }
            to_result(bindings::sync_blockdev(disk)).map_err(SourceError::Path)?;
            // No holder: the block device is claimed, and partitions have one DAX device.
            let none = ptr::null_mut();
            let device = bindings::fs_dax_get_by_bdev(disk, &mut start, none, ptr::null());
            (size, NonNull::new(device).ok_or(SourceError::Path(ENXIO))?)
        };
        let claim = Claim::Disk { _opened: opened };
        // SAFETY: The device is referenced, for the value.
        unsafe { Self::new(device, start, Some(size), claim) }
    }

    /// The memory of a character device of the DAX bus.
    ///
    /// # Safety
    ///
    /// `file` must be open on a character device for whose number [`is_dax_number`] holds.
    pub(super) unsafe fn of_character(
        file: *mut bindings::file,
        sb: SuperBlock,
    ) -> Result<Self, SourceError> {
        // SAFETY: The number is one of the DAX core's, and as a file is open there is such a
        // device: it is not made by being asked for.
        let device = unsafe { bindings::dax_dev_get((*(*file).f_inode).i_rdev) };
        let device = NonNull::new(device).ok_or(SourceError::Path(ENOMEM))?;
        // SAFETY: The device is referenced, and is one of the DAX bus, as those are that can be
        // opened. It is referenced again if this succeeds.
        let claimed = unsafe {
            let holder = sb.as_ptr().cast();
            let answer = bindings::fs_dax_get(device.as_ptr(), holder, &HOLDER_OPERATIONS);
            bindings::put_dax(device.as_ptr());
            to_result(answer)
        };
        match claimed {
            Ok(()) => {}
            Err(error) if error == EOPNOTSUPP => return Err(SourceError::NotFsdev),
            Err(error) if error == EBUSY => return Err(SourceError::Busy),
            Err(error) => return Err(SourceError::Path(error)),
        }
        // SAFETY: The device is referenced and claimed, for the value.
        unsafe { Self::new(device, 0, None, Claim::Holder(sb)) }
    }

    /// A device's memory from `start` on: `size` bytes, or as many as are there in one piece.
    ///
    /// # Safety
    ///
    /// `device` must be referenced and claimed as `claim` says, which goes over to the value.
    unsafe fn new(
        device: NonNull<bindings::dax_device>,
        start: u64,
        size: Option<u64>,
        claim: Claim,
    ) -> Result<Self, SourceError> {
        // SAFETY: No bytes, for which any address will do.
        let nothing = unsafe { Memory::new(NonNull::dangling(), 0) };
        // INVARIANT: 1: By the caller's promise. 2 and 3 for no memory at all, so that the
        // claim is given up if something fails.
        let mut this = Self {
            device,
            start,
            memory: nothing,
            first_pfn: 0,
            has_pages: false,
            is_gone: AtomicBool::new(false),
            has_lent: AtomicBool::new(false),
            claim,
        };
        let pages = match size {
            Some(size) => size >> PAGE_SHIFT,
            None => this.pages_in_one_piece(),
        };
        let pages = c_long::try_from(pages).map_err(|_| SourceError::Pieces)?;
        let first = (start >> PAGE_SHIFT) as usize;
        // SAFETY: The device is referenced by invariant 1.
        let found = unsafe { direct_access(device, first, pages) }.map_err(SourceError::Access)?;
        if found.pages < pages || pages == 0 {
            return Err(SourceError::Pieces);
        }
        let last = found.first_pfn + (pages as usize - 1);
        // INVARIANT: 2: As `direct_access` says. 3: Drivers make all pages of a piece alike.
        // SAFETY: Mapped as long as the device is alive; it is looked at only then. The
        // helper takes any number.
        unsafe {
            this.memory = Memory::new(found.start, (pages as usize) << PAGE_SHIFT);
            this.first_pfn = found.first_pfn;
            this.has_pages = [found.first_pfn, last]
                .into_iter()
                .all(|pfn| bindings::erodax_pfn_is_fsdax(pfn));
        }
        Ok(this)
    }

    /// Pages from the start on that the device gives at a time. A character device does not
    /// tell its size, but refuses to give more than it has.
    fn pages_in_one_piece(&self) -> u64 {
        // Below `enough` it is given, from `too_many` on it is refused.
        let (mut enough, mut too_many) = (0, 1 << (c_long::BITS - 1 - PAGE_SHIFT as u32));
        while too_many - enough > 1 {
            let middle: c_long = enough + (too_many - enough) / 2;
            // SAFETY: The device is referenced by invariant 1.
            match unsafe { direct_access(self.device, 0, middle) } {
                Ok(found) if found.pages >= middle => enough = middle,
                _ => too_many = middle,
            }
        }
        enough as u64
    }

    /// The memory.
    ///
    /// # Safety
    ///
    /// It may be looked at only while [`Self::alive`] is held.
    pub(super) unsafe fn memory(&self) -> Memory<'static> {
        self.memory
    }

    fn size(&self) -> usize {
        self.memory.size()
    }

    /// Whether the memory has pages that can be mapped.
    pub(super) fn has_pages(&self) -> bool {
        self.has_pages
    }

    /// Whether the device goes or is gone. The DAX core may end a claim without telling, if it was
    /// made while the device went.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire) || !self.is_claimed()
    }

    /// Makes the device stay; None if it is gone.
    #[cold]
    pub(super) fn alive(&self) -> Option<Alive> {
        Alive::lock(self.device).filter(|_| self.is_claimed())
    }

    /// Whether the device is the one that was claimed. A character device that goes can come back
    /// as the same `dax_device`, with other memory; the DAX core has ended all claims before.
    fn is_claimed(&self) -> bool {
        match &self.claim {
            Claim::Disk { .. } => true,
            // SAFETY: The device is referenced by invariant 1.
            Claim::Holder(sb) => unsafe {
                bindings::dax_holder(self.device.as_ptr()) == sb.as_ptr().cast()
            },
        }
    }

    /// What `fs/dax.c` may map of a run of the memory, from `position` in the file on: whole
    /// pages only.
    pub(super) fn extent(&self, run: Run, position: u64) -> Option<DaxExtent> {
        let page_size = PAGE_SIZE as u64;
        if self.is_gone() || !self.has_pages || position % page_size != 0 {
            return None;
        }
        let skipped = position.checked_sub(run.position)?;
        let offset = run.offset.checked_add(skipped)?;
        let room = (self.size() as u64).checked_sub(offset)?;
        let len = run.len.checked_sub(skipped)?.min(room);
        let len = len - len % page_size;
        (offset % page_size == 0 && len > 0).then_some(DaxExtent {
            device: self.device.as_ptr(),
            address: self.start + offset,
            position,
            len,
        })
    }

    /// Inserts the page that is wanted and those of the run around it.
    ///
    /// None if the wanted page is no page of the memory as it lies there.
    pub(super) fn map(&self, fault: &mut Fault<'_>, run: Run) -> Option<Outcome> {
        let wanted = fault.index();
        let page = self.page(run, wanted)?;
        // Before a mapping has the page: `wait_until_returned` must not miss it.
        self.has_lent.store(true, Ordering::Release);
        let outcome = fault.resolve(&page);
        if fault.is_copy() || outcome != Outcome::MAPPED {
            return Some(outcome);
        }
        for index in fault.window(WINDOW) {
            // The neighbours are a courtesy: whatever stops them, the fault is answered.
            let Some(page) = self.page(run, index).filter(|_| index != wanted) else {
                continue;
            };
            if fault.insert(index, &page) != Outcome::MAPPED {
                break;
            }
        }
        Some(outcome)
    }

    /// Page `index` of the file, if it is a page of the memory.
    fn page(&self, run: Run, index: u64) -> Option<LentPage> {
        let offset = run.offset_of(index)?;
        let end = offset.checked_add(PAGE_SIZE as u64)?;
        let is_page = offset % PAGE_SIZE as u64 == 0 && end <= self.size() as u64;
        if !is_page || !self.has_pages || self.is_gone() {
            return None;
        }
        let pfn = self.first_pfn + (offset >> PAGE_SHIFT) as usize;
        // SAFETY: A page by invariant 3. Whoever maps holds the mapping's invalidate lock, and
        // the device stays until `shut_down` has had that of each inode.
        Some(unsafe { LentPage::new(pfn) })
    }

    /// From now on nothing is mapped any more.
    pub(super) fn shut_down(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Waits until nobody has a page any more that was not mapped through `fs/dax.c`: the driver
    /// takes the memory away without looking.
    pub(super) fn wait_until_returned(&self) {
        if self.has_lent.swap(false, Ordering::AcqRel) {
            let pages = self.size() >> PAGE_SHIFT;
            // SAFETY: Pages by invariant 3; none is lent that `has_pages` was not set for.
            unsafe { bindings::erodax_wait_until_idle(self.first_pfn, pages) };
        }
    }
}

impl Drop for FsDax {
    fn drop(&mut self) {
        self.wait_until_returned();
        let device = self.device.as_ptr();
        let _guard = HOLDERS.lock();
        // While the device is kept alive the claim cannot become another one's.
        let alive = self.alive();
        let holder = match &self.claim {
            Claim::Holder(sb) if alive.is_some() => sb.as_ptr().cast(),
            Claim::Holder(_) | Claim::Disk { .. } => ptr::null_mut(),
        };
        // SAFETY: The reference is ours by invariant 1, and so is the claim that is given up.
        unsafe { bindings::fs_put_dax(device, holder) };
    }
}

/// The DAX read lock, held on a device that is alive.
pub(super) struct Alive(c_int);

impl Alive {
    /// None if the device is not alive.
    fn lock(device: NonNull<bindings::dax_device>) -> Option<Self> {
        // SAFETY: May be called from any context that can sleep.
        let this = Self(unsafe { bindings::dax_read_lock() });
        // SAFETY: A device that its owner references, and the lock is held.
        unsafe { bindings::dax_alive(device.as_ptr()) }.then_some(this)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::dax_read_unlock(self.0) };
    }
}

/// What a device gives access to.
pub(super) struct Access {
    /// Address of the first byte.
    pub(super) start: NonNull<u8>,
    first_pfn: usize,
    /// Pages from there on.
    pub(super) pages: c_long,
}

/// Asks a device for `count` pages from page `first` on; it may give fewer.
///
/// # Safety
///
/// The device must be referenced.
pub(super) unsafe fn direct_access(
    device: NonNull<bindings::dax_device>,
    first: usize,
    count: c_long,
) -> Result<Access> {
    let (mut address, mut pfn) = (ptr::null_mut(), 0);
    let mode = bindings::dax_access_mode_DAX_ACCESS;
    // SAFETY: The device is referenced, and the read lock is what the call wants.
    let pages = unsafe {
        let lock = bindings::dax_read_lock();
        let device = device.as_ptr();
        let pages = bindings::dax_direct_access(device, first, count, mode, &mut address, &mut pfn);
        bindings::dax_read_unlock(lock);
        pages
    };
    if pages < 0 {
        return Err(Error::from_errno(pages as c_int));
    }
    Ok(Access {
        start: NonNull::new(address.cast()).ok_or(EFAULT)?,
        first_pfn: pfn,
        pages,
    })
}

/// A page of a device, with a reference.
///
/// # Invariants
///
/// The page is valid and the reference ours.
struct LentPage(BorrowedPage<'static>);

impl LentPage {
    /// # Safety
    ///
    /// `pfn` must be of a page that stays as long as somebody references it.
    unsafe fn new(pfn: usize) -> Self {
        // SAFETY: By the caller's promise. INVARIANT: The reference is taken here.
        unsafe {
            let page = bindings::erodax_pfn_to_page(pfn);
            bindings::erodax_get_idle_page(page);
            Self(BorrowedPage::from_raw(NonNull::new_unchecked(page)))
        }
    }
}

impl Deref for LentPage {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.0
    }
}

impl Drop for LentPage {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::erodax_put_page(self.0.as_ptr()) };
    }
}

/// A block device that is open for one superblock; closed when dropped.
///
/// # Invariants
///
/// The file is open and claimed for the superblock.
struct Disk(*mut bindings::file, SuperBlock);

impl Disk {
    fn open(path: &CStr, sb: SuperBlock) -> Result<Self, SourceError> {
        let path = kernel::str::CStrExt::as_char_ptr(path);
        let (mode, holder) = (bindings::BLK_OPEN_READ, sb.as_ptr().cast());
        // SAFETY: A string, and a superblock that is being filled in.
        let file = unsafe { bindings::fs_bdev_file_open_by_path(path, mode, holder, sb.as_ptr()) };
        match from_err_ptr(file) {
            Ok(file) => Ok(Self(file, sb)),
            Err(error) if error == EBUSY => Err(SourceError::Busy),
            Err(error) => Err(SourceError::Path(error)),
        }
    }

    fn raw(&self) -> Result<NonNull<bindings::block_device>, SourceError> {
        // SAFETY: An open block device by the invariant.
        NonNull::new(unsafe { bindings::file_bdev(self.0) }).ok_or(SourceError::Path(ENXIO))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: By the invariant; superblocks outlive what they have claimed.
        unsafe { bindings::fs_bdev_file_release(self.0, self.1.as_ptr()) };
    }
}

/// Major number of the DAX core, while there is a [`Token`].
static MAJOR: AtomicU32 = AtomicU32::new(0);

/// Whether a device number is one of the DAX core's.
pub(super) fn is_dax_number(number: bindings::dev_t) -> bool {
    super::device::major(number) == MAJOR.load(Ordering::Relaxed)
}

/// A DAX device of no memory, which nobody else gets to know, for what the DAX core does not
/// offer otherwise: it tells the core's major number, and its end waits for calls of
/// [`notify_failure`]. These may come as long as somebody has read a holder's operations, even if
/// the holder has given up its claim meanwhile.
///
/// # Invariants
///
/// The pointer is a DAX device of ours, alive.
pub(super) struct Token(NonNull<bindings::dax_device>);

// SAFETY: The DAX core locks its devices.
unsafe impl Send for Token {}
// SAFETY: As above.
unsafe impl Sync for Token {}

impl Token {
    /// To be called once, when the module is loaded, and kept until nothing can be mounted any more.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: Without operations any private data will do.
        let device = unsafe { from_err_ptr(bindings::alloc_dax(ptr::null_mut(), ptr::null()))? };
        let device = NonNull::new(device).ok_or(EOPNOTSUPP)?;
        // SAFETY: The device was just made.
        let number = unsafe { bindings::erodax_dax_number(device.as_ptr()) };
        MAJOR.store(super::device::major(number), Ordering::Relaxed);
        // INVARIANT: Made above.
        Ok(Self(device))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // SAFETY: By the invariant it is alive, and this is its only owner. Killing it waits for
        // all who hold the DAX read lock, as those who call holders do.
        unsafe {
            bindings::kill_dax(self.0.as_ptr());
            bindings::put_dax(self.0.as_ptr());
        }
    }
}

static HOLDER_OPERATIONS: bindings::dax_holder_operations = bindings::dax_holder_operations {
    notify_failure: Some(notify_failure),
};

/// What a claimed character device says: that it goes, or that memory of it fails.
///
/// # Safety
///
/// Called by the DAX core for a device that was claimed with [`HOLDER_OPERATIONS`].
unsafe extern "C" fn notify_failure(
    device: *mut bindings::dax_device,
    _offset: u64,
    _len: u64,
    flags: c_int,
) -> c_int {
    if flags as u32 & bindings::mf_flags_MF_MEM_PRE_REMOVE == 0 {
        // The MM finds the processes that have the page mapped, and kills them.
        return EOPNOTSUPP.to_errno();
    }
    loop {
        let guard = HOLDERS.lock();
        // SAFETY: The device is valid during the call.
        let Some(sb) = NonNull::new(unsafe { bindings::dax_holder(device) }) else {
            return 0;
        };
        // SAFETY: The holders are superblocks, which stay while the guard keeps the claim.
        if let Some(locked) = unsafe { SuperBlock::from_raw(sb.as_ptr().cast()).try_lock() } {
            drop(guard);
            locked.shut_down();
            return 0;
        }
        // It is being mounted or unmounted, the latter of which ends in giving up the claim.
        drop(guard);
        // SAFETY: Called from a context that can sleep.
        unsafe { bindings::msleep(1) };
    }
}
