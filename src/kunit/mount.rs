// SPDX-License-Identifier: GPL-2.0

//! A compressed image that lies anywhere in the kernel's memory, mounted and read.

use super::{is_fox, FOX, SENTENCE, SENTENCES};
use crate::{bindings, dax::TestDevice};
use core::ptr::NonNull;
use kernel::{error::from_err_ptr, fs::file::flags::O_RDONLY, prelude::*, str::CStrExt};

/// A mount that no namespace has.
///
/// # Invariants
///
/// The pointer is a mount of the kernel's.
struct Mount(NonNull<bindings::vfsmount>);

impl Mount {
    fn new(source: &CStr) -> Result<Self> {
        let fstype = crate::parameters::fstype();
        // SAFETY: Strings; the module has registered the type, and so it is found or gone.
        let kind = unsafe { bindings::get_fs_type(fstype.as_char_ptr()) };
        let kind = NonNull::new(kind).ok_or(ENODEV)?;
        // SAFETY: The type is held.
        let mount = from_err_ptr(unsafe {
            bindings::erodax_kunit_mount(kind.as_ptr(), source.as_char_ptr())
        });
        // SAFETY: `get_fs_type` took the reference. A mount has one of its own.
        unsafe { bindings::module_put((*kind.as_ptr()).owner) };
        // INVARIANT: The helper makes mounts of the kernel's own.
        Ok(Self(NonNull::new(mount?).ok_or(EINVAL)?))
    }

    /// Opens a file in the root directory.
    fn open(&self, name: &CStr) -> Result<File<'_>> {
        // SAFETY: By the invariant the mount has a root, which it holds.
        let file = from_err_ptr(unsafe {
            let root = bindings::path {
                mnt: self.0.as_ptr(),
                dentry: (*self.0.as_ptr()).mnt_root,
            };
            bindings::file_open_root(&root, name.as_char_ptr(), O_RDONLY as i32, 0)
        })?;
        // INVARIANT: `file_open_root` returned it.
        Ok(File(NonNull::new(file).ok_or(EINVAL)?, self))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: By the invariant; files borrow the mount and are closed.
        unsafe { bindings::kern_unmount(self.0.as_ptr()) };
    }
}

/// An open file.
///
/// # Invariants
///
/// The pointer is a file that nobody else has.
struct File<'a>(
    NonNull<bindings::file>,
    #[expect(dead_code, reason = "a borrow")] &'a Mount,
);

impl File<'_> {
    /// Reads into `buffer` from byte `pos` on; returns how much there was.
    fn read(&self, buffer: &mut [u8], pos: i64) -> Result<usize> {
        let mut pos = pos;
        // SAFETY: By the invariant, and the buffer is as long as it says.
        let read = unsafe {
            bindings::kernel_read(
                self.0.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut pos,
            )
        };
        usize::try_from(read).map_err(|_| Error::from_errno(read as i32))
    }
}

impl Drop for File<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariant. Synchronously, as the mount goes next.
        unsafe { bindings::__fput_sync(self.0.as_ptr()) };
    }
}

/// Mounts the image `offset` bytes into a page, and reads `fox` in pieces of `step` bytes.
fn read_fox(offset: usize, step: usize) -> Result<bool> {
    let device = TestDevice::new(FOX, offset)?;
    let mount = Mount::new(TestDevice::PATH)?;
    let len = SENTENCE.len() * SENTENCES;
    let mut buffer = KVec::from_elem(0, step, GFP_KERNEL)?;
    let mut is_right = true;
    {
        let file = mount.open(c"fox")?;
        let mut pos = 0;
        while pos < len {
            let read = file.read(&mut buffer, pos as i64)?;
            is_right &= read == step.min(len - pos) && is_fox(pos, &buffer[..read]);
            pos += read.max(1);
        }
        is_right &= file.read(&mut buffer, len as i64)? == 0;
    }
    drop(mount);
    drop(device);
    Ok(is_right)
}

#[kunit_tests(erodax_mount)]
mod tests {
    use super::*;

    /// The case that the whole project began with: at a sector's begin.
    #[test]
    fn a_compressed_image_at_a_sector() -> Result {
        assert!(read_fox(1536, 4096)?);
        Ok(())
    }

    #[test]
    fn a_compressed_image_at_any_byte() -> Result {
        for offset in [1, 7, 511, 1537, 4095] {
            assert!(read_fox(offset, 1000)?);
        }
        Ok(())
    }

    #[test]
    fn a_compressed_image_at_a_page() -> Result {
        assert!(read_fox(0, 5250)?);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_not_opened() -> Result {
        let _device = TestDevice::new(FOX, 1536)?;
        let mount = Mount::new(TestDevice::PATH)?;
        assert_eq!(mount.open(c"wolf").err(), Some(ENOENT));
        Ok(())
    }
}
