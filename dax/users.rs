// SPDX-License-Identifier: GPL-2.0

//! Who can have pages of carve-outs mapped: mounts and the devices themselves.

use crate::{
    bindings,
    vfs::{ActiveSuperBlock, SuperBlock},
};
use core::ptr::NonNull;
use kernel::prelude::*;

kernel::sync::global_lock! {
    // SAFETY: Initialized in `init`, before there is any user.
    unsafe(uninit) static USERS: Mutex<Users> = Users { named: 0, all: KVec::new() };
}

/// To be called once, when the module is loaded.
pub(super) fn init() {
    // SAFETY: Called once, before the lock is used.
    unsafe { USERS.init() };
}

struct Users {
    /// How many there ever were, which names them.
    named: u64,
    all: KVec<(u64, User)>,
}

/// Whose files can show pages of carve-outs.
enum User {
    /// A mount, until it gives its devices back.
    Mount(SuperBlock),
    /// A device, all of whose open files have this mapping.
    Device(NonNull<bindings::address_space>),
}

// SAFETY: The pointer is only used while the device is listed, and the kernel locks mappings.
unsafe impl Send for User {}

/// A user is listed as long as the value exists.
pub(super) struct Listed(u64);

impl Listed {
    fn new(user: User) -> Result<Self> {
        let mut users = USERS.lock();
        users.named += 1;
        let name = users.named;
        users.all.push((name, user), GFP_KERNEL)?;
        Ok(Self(name))
    }

    /// Lists a mount, which must stay until the value is dropped.
    pub(super) fn mount(sb: SuperBlock) -> Result<Self> {
        Self::new(User::Mount(sb))
    }

    /// Lists a device.
    ///
    /// # Safety
    ///
    /// The mapping must stay until the value is dropped.
    pub(super) unsafe fn device(mapping: NonNull<bindings::address_space>) -> Result<Self> {
        Self::new(User::Device(mapping))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        users.all.retain(|(name, _)| *name != self.0);
        if users.all.is_empty() {
            // A static is not dropped when the module goes: nothing may be left in it.
            users.all = KVec::new();
        }
    }
}

/// Takes all pages from everybody who has one mapped, but for copies that programs have made.
///
/// Returns the mounts that were looked at: what drops one may have to unmount it.
pub(super) fn unmap_all() -> Result<KVec<ActiveSuperBlock>> {
    let users = USERS.lock();
    let mut mounts = KVec::with_capacity(users.all.len(), GFP_KERNEL)?;
    for (_, user) in &users.all {
        match user {
            // Of one that ends nothing is mapped any more.
            User::Mount(sb) => {
                if let Some(mount) = sb.activate() {
                    mount.unmap_files();
                    mounts.push(mount, GFP_KERNEL)?;
                }
            }
            // SAFETY: Listed, and so it is there.
            User::Device(mapping) => unsafe {
                bindings::unmap_mapping_range(mapping.as_ptr(), 0, 0, 0)
            },
        }
    }
    Ok(mounts)
}
