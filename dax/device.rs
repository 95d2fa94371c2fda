// SPDX-License-Identifier: GPL-2.0

//! A DAX device and its character device for each region.

use super::{chardev, fsdax, memory::Memory, region::Region, sysfs, users::Listed};
use crate::bindings;
use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};
use kernel::{
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_long, c_ulong, c_void},
    fmt,
    page::PAGE_SHIFT,
    prelude::*,
    str::CStrExt,
    sync::Arc,
    types::Opaque,
};

/// Bits of a device number that are the minor (MINORBITS of linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// Major number of the character devices, for recognizing them as a mount's source.
static MAJOR: AtomicU32 = AtomicU32::new(0);

/// Every device of the module.
///
/// The fields are dropped in this order: what users see, the devices, then what they need.
pub(crate) struct Devices {
    /// None before [`Devices::publish`].
    nodes: KVec<Node>,
    devices: KVec<Pin<KBox<Device>>>,
    _class: sysfs::Class,
    _numbers: Numbers,
    _token: fsdax::Token,
}

impl Devices {
    /// Makes devices of the regions, which nobody sees yet.
    pub(crate) fn create(regions: KVec<Arc<Region>>) -> Result<Self> {
        let token = fsdax::Token::new()?;
        let numbers = Numbers::new(regions.len().try_into()?)?;
        let class = sysfs::Class::register()?;
        let mut devices = KVec::with_capacity(regions.len(), GFP_KERNEL)?;
        for (minor, region) in (0..).zip(regions) {
            let device = KBox::pin_init(Device::new(region, numbers.first + minor), GFP_KERNEL)?;
            devices.push(device, GFP_KERNEL)?;
        }
        Ok(Self {
            nodes: KVec::new(),
            devices,
            _class: class,
            _numbers: numbers,
            _token: token,
        })
    }

    /// Makes /dev/erodax0, /dev/erodax1, …, and writes a line for each to the kernel log.
    ///
    /// To be called when all else has succeeded: who has opened a device keeps the module from
    /// being unloaded, but not from failing to load.
    pub(crate) fn publish(&mut self) -> Result {
        let mut nodes = KVec::with_capacity(self.devices.len(), GFP_KERNEL)?;
        for device in &self.devices {
            nodes.push(Node::new(device)?, GFP_KERNEL)?;
        }
        self.nodes = nodes;
        self.announce();
        Ok(())
    }

    fn announce(&self) {
        for device in &self.devices {
            let (region, image) = (&device.region, device.region.image());
            pr_info!(
                "{}: {:#x},{:#x} in the {}, {} bytes into its first page\n",
                device.label(),
                image.address,
                image.size,
                region.kind(),
                region.offset_in_page(),
            );
        }
    }
}

/// One region as a device.
///
/// The fields are dropped in this order: what users can reach, then what it uses.
#[pin_data]
pub(super) struct Device {
    #[pin]
    cdev: Cdev,
    _listed: Option<Listed>,
    dax: DaxDevice,
    region: Arc<Region>,
    number: bindings::dev_t,
}

// SAFETY: The members are plain data, or C structs that the kernel locks.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    fn new(region: Arc<Region>, number: bindings::dev_t) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dax: DaxDevice::new(&region)?,
            // SAFETY: The DAX device is dropped after it.
            _listed: region.losses().map(|_| unsafe { Listed::device(dax.mapping()) }).transpose()?,
            region,
            number,
            cdev <- Cdev::new(*number),
        }? Error)
    }

    /// The device whose character device an inode belongs to.
    ///
    /// # Safety
    ///
    /// `inode` must be one that is being opened with [`chardev::OPERATIONS`].
    pub(super) unsafe fn of_inode<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: The VFS has set `i_cdev` to that of a `Device`, which stays as long as files
        // are open, since these hold the module.
        unsafe {
            let raw = Opaque::cast_from((*inode).__bindgen_anon_5.i_cdev);
            let cdev = kernel::container_of!(raw, Cdev, raw);
            &*kernel::container_of!(cdev, Self, cdev)
        }
    }

    /// The region that it serves.
    pub(super) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Its name under /dev.
    pub(super) fn label(&self) -> impl fmt::Display {
        struct Label(u32);
        impl fmt::Display for Label {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "erodax{}", self.0)
            }
        }
        Label(minor(self.number))
    }

    /// What all of its open files have mapped, whichever of its nodes they were opened by.
    pub(super) fn mapping(&self) -> NonNull<bindings::address_space> {
        self.dax.mapping()
    }

    /// The image's bytes, through the DAX device.
    pub(super) fn memory(&self) -> Result<Memory<'_>> {
        let pages = self.dax.pages()?;
        let (offset, size) = (self.region.offset_in_page(), self.region.image().size);
        pages.part(offset as u64, size).ok_or(ERANGE)
    }
}

/// Whether a device number is of one of our character devices.
pub(super) fn is_ours(number: bindings::dev_t) -> bool {
    let ours = MAJOR.load(Ordering::Relaxed);
    ours != 0 && major(number) == ours
}

/// The major part of a device number.
pub(super) fn major(number: bindings::dev_t) -> u32 {
    number >> MINOR_BITS
}

fn minor(number: bindings::dev_t) -> u32 {
    number & ((1 << MINOR_BITS) - 1)
}

/// A registered character device.
///
/// # Invariants
///
/// `raw` is registered.
#[pin_data(PinnedDrop)]
struct Cdev {
    #[pin]
    raw: Opaque<bindings::cdev>,
}

impl Cdev {
    /// Opens of it find the [`Device`] that it is part of, without its node.
    fn new(number: bindings::dev_t) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(|slot: *mut bindings::cdev| {
                // SAFETY: `slot` stays where it is, being pinned. The operations are static.
                unsafe {
                    slot.write(pin_init::zeroed());
                    bindings::cdev_init(slot, chardev::OPERATIONS);
                    (*slot).owner = crate::THIS_MODULE.as_ptr();
                    to_result(bindings::cdev_add(slot, number, 1))
                }
            }),
        }? Error)
    }
}

#[pinned_drop]
impl PinnedDrop for Cdev {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the invariant.
        unsafe { bindings::cdev_del(self.raw.get()) };
    }
}

/// A device's node under /dev and its directory under /sys/class/erodax.
///
/// # Invariants
///
/// A device of the class exists with this number.
struct Node(bindings::dev_t);

impl Node {
    /// `device` is what the attributes are shown of; it outlives the node.
    fn new(device: &Device) -> Result<Self> {
        let (number, data) = (device.number, ptr::from_ref(device).cast_mut());
        // SAFETY: The class is registered, and the format matches its argument.
        from_err_ptr(unsafe {
            bindings::device_create(
                sysfs::Class::as_ptr(),
                ptr::null_mut(),
                number,
                data.cast(),
                c"erodax%u".as_char_ptr(),
                minor(number),
            )
        })?;
        Ok(Self(number))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: It exists by the invariant.
        unsafe { bindings::device_destroy(sysfs::Class::as_ptr(), self.0) };
    }
}

/// Device numbers, one for each region; none are allocated for none.
struct Numbers {
    first: bindings::dev_t,
    count: u32,
}

impl Numbers {
    fn new(count: u32) -> Result<Self> {
        let mut first = 0;
        if count == 0 {
            // The kernel would reserve a major number, and never take it back.
            return Ok(Self { first, count });
        }
        // SAFETY: `first` is ours to be written, and the name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, count, c"erodax".as_char_ptr())
        })?;
        MAJOR.store(major(first), Ordering::Relaxed);
        Ok(Self { first, count })
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        MAJOR.store(0, Ordering::Relaxed);
        // SAFETY: Allocated in `new`.
        unsafe { bindings::unregister_chrdev_region(self.first, self.count) };
    }
}

/// A device of a test's, with a minor number that no region of the module gets.
///
/// The fields are dropped in this order: what users can reach, then what it uses.
#[cfg(CONFIG_KUNIT = "y")]
pub(super) struct TestNode {
    _node: Node,
    _device: Pin<KBox<Device>>,
    /// Where the module has no regions, and so no major number.
    _numbers: Option<Numbers>,
}

#[cfg(CONFIG_KUNIT = "y")]
impl TestNode {
    pub(super) fn new(region: Arc<Region>) -> Result<Self> {
        const MINOR: u32 = (1 << MINOR_BITS) - 1;
        let numbers = match MAJOR.load(Ordering::Relaxed) {
            0 => Some(Numbers::new(1)?),
            _ => None,
        };
        let number = MAJOR.load(Ordering::Relaxed) << MINOR_BITS | MINOR;
        let device = KBox::pin_init(Device::new(region, number), GFP_KERNEL)?;
        Ok(Self {
            _node: Node::new(&device)?,
            _device: device,
            _numbers: numbers,
        })
    }
}

/// A `dax_device` over the pages of a region.
///
/// # Invariants
///
/// The pointer is a DAX device of ours, alive, and its private data a `Region` that whoever
/// has the value keeps as long.
struct DaxDevice(NonNull<bindings::dax_device>);

impl DaxDevice {
    /// The caller keeps the region as long as the device.
    fn new(region: &Arc<Region>) -> Result<Self> {
        let private = Arc::as_ptr(region).cast_mut().cast();
        // SAFETY: The operations are static and take such private data.
        let device = from_err_ptr(unsafe { bindings::alloc_dax(private, &DAX_OPERATIONS) })?;
        // INVARIANT: By the caller's promise.
        Ok(Self(NonNull::new(device).ok_or(EOPNOTSUPP)?))
    }

    /// The mapping of the DAX device's inode, which it uses for nothing.
    fn mapping(&self) -> NonNull<bindings::address_space> {
        // SAFETY: The device is referenced by the invariant, and its inode part of it.
        unsafe { NonNull::new_unchecked(bindings::erodax_dax_mapping(self.0.as_ptr())) }
    }

    /// All of its memory, as `dax_direct_access` tells it.
    fn pages(&self) -> Result<Memory<'_>> {
        // SAFETY: The device is referenced by the invariant.
        let all = unsafe { fsdax::direct_access(self.0, 0, c_long::MAX >> PAGE_SHIFT)? };
        // SAFETY: `direct_access` gives mapped memory, which the region keeps.
        Ok(unsafe { Memory::new(all.start, (all.pages as usize) << PAGE_SHIFT) })
    }
}

impl Drop for DaxDevice {
    fn drop(&mut self) {
        // SAFETY: By the invariant it is alive, and this is its only owner.
        unsafe {
            bindings::kill_dax(self.0.as_ptr());
            bindings::put_dax(self.0.as_ptr());
        }
    }
}

static DAX_OPERATIONS: bindings::dax_operations = bindings::dax_operations {
    direct_access: Some(direct_access),
    zero_page_range: Some(zero_page_range),
    recovery_write: None,
};

/// # Safety
///
/// Called by the DAX core with a device made by [`DaxDevice::new`].
unsafe extern "C" fn direct_access(
    device: *mut bindings::dax_device,
    index: c_ulong,
    _count: c_long,
    _mode: bindings::dax_access_mode,
    address: *mut *mut c_void,
    pfn: *mut c_ulong,
) -> c_long {
    // SAFETY: By the invariant of `DaxDevice`.
    let region = unsafe { &*bindings::dax_get_private(device).cast::<Region>() };
    let Some((start, first_pfn, pages)) = region.pages_from(index) else {
        return ERANGE.to_errno() as c_long;
    };
    // SAFETY: The core passes null for what it does not ask for, else valid pointers.
    unsafe {
        if !address.is_null() {
            *address = start.as_ptr().cast();
        }
        if !pfn.is_null() {
            *pfn = first_pfn;
        }
    }
    pages as c_long
}

/// The DAX core demands the operation; the memory is read-only.
///
/// # Safety
///
/// Touches nothing.
unsafe extern "C" fn zero_page_range(
    _device: *mut bindings::dax_device,
    _index: c_ulong,
    _pages: usize,
) -> c_int {
    EROFS.to_errno()
}
