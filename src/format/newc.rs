// SPDX-License-Identifier: GPL-2.0

//! newc cpio archives (`070701`, `070702`), as an initrd strings them together, and the EROFS images
//! among their members.
//!
//! A member is a header of 110 characters, a name that ends with a NUL, zeros up to a multiple of 4,
//! the body, and zeros up to a multiple of 4. Archives follow one another with any number of zeros in
//! between; Linux's `init/initramfs.c` treats the space between two members of an archive the same
//! way. The checksum of `070702` is not looked at.

use crate::image::to_u64;
use crate::{image::Part, superblock, Error, Image, Result};
use zerocopy::IntoBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// Members, and archives, start at a multiple of this from the image's start.
const ALIGN: u64 = 4;

/// The longest name, its NUL included (`PATH_MAX`).
const PATH_MAX: u32 = 4096;

const TRAILER: &[u8] = b"TRAILER!!!";

/// What an image's name ends with.
const SUFFIX: &[u8] = b".erofs";

/// File type bits of a mode, and those of a regular file.
const MODE_TYPE: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;

/// A member's header. Each field is 8 hexadecimal digits.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 6],
    ino: [u8; 8],
    mode: [u8; 8],
    uid: [u8; 8],
    gid: [u8; 8],
    nlink: [u8; 8],
    mtime: [u8; 8],
    filesize: [u8; 8],
    devmajor: [u8; 8],
    devminor: [u8; 8],
    rdevmajor: [u8; 8],
    rdevminor: [u8; 8],
    namesize: [u8; 8],
    check: [u8; 8],
}

const HEADER_SIZE: u64 = 110;
const _: () = assert!(size_of::<RawHeader>() == 110);

const BAD_NUMBER: Error = Error::Corrupt("cpio header with a bad number");

/// One member of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the header starts: a multiple of 4.
    pub header_offset: u64,
    /// Where the name starts.
    pub name_offset: u64,
    /// Length of the name without a NUL: up to 4095.
    pub name_len: usize,
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Where the body starts: a multiple of 4.
    pub data_offset: u64,
    /// Size of the body in bytes. All of it is there.
    pub size: u64,
}

impl Member {
    /// Copies the name, with directories, to the start of `buf` and returns that part of it. Of a
    /// longer name, it's the start.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if `image` is not the one that the member was found in.
    pub fn path<'b>(&self, image: &(impl Image + ?Sized), buf: &'b mut [u8]) -> Result<&'b [u8]> {
        copy_name(image, self.name_offset, self.name_len, buf)
    }

    /// Copies the name of an EROFS image, without directories and without `.erofs`, to the start of
    /// `buf` and returns that part of it. Of a longer name, it's the start.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if `image` is not the one that the member was found in.
    pub fn image_name<'b>(
        &self,
        image: &(impl Image + ?Sized),
        buf: &'b mut [u8],
    ) -> Result<&'b [u8]> {
        let dirs = self.directories_len(image)?;
        let start = self.name_offset.saturating_add(to_u64(dirs));
        let mut len = self.name_len.saturating_sub(dirs);
        if let Some(stem) = len.checked_sub(SUFFIX.len()).filter(|stem| *stem != 0) {
            let suffix = start.saturating_add(to_u64(stem));
            if image.cmp_at(suffix, SUFFIX.len(), SUFFIX)?.is_eq() {
                len = stem;
            }
        }
        copy_name(image, start, len, buf)
    }

    /// Whether the body has EROFS's magic where a superblock would be.
    pub fn is_erofs(&self, image: &(impl Image + ?Sized)) -> bool {
        Part::new(image, self.data_offset, self.size).is_ok_and(|body| superblock::has_magic(&body))
    }

    fn is_regular(&self) -> bool {
        self.mode & MODE_TYPE == MODE_REGULAR
    }

    /// How much of the name is directories, the last slash included.
    fn directories_len(&self, image: &(impl Image + ?Sized)) -> Result<usize> {
        let mut dirs = 0;
        let mut seen: usize = 0;
        let mut buf = [0; 64];
        while seen < self.name_len {
            let start = self.name_offset.saturating_add(to_u64(seen));
            let part = copy_name(image, start, self.name_len.saturating_sub(seen), &mut buf)?;
            if let Some(slash) = part.iter().rposition(|byte| *byte == b'/') {
                dirs = seen.saturating_add(slash).saturating_add(1);
            }
            seen = seen.saturating_add(part.len());
        }
        Ok(dirs)
    }

    /// Reads the member at `offset`, after whose magic there was one, and where what follows starts.
    fn read(image: &(impl Image + ?Sized), offset: u64) -> Result<(Self, u64)> {
        const TRUNCATED: Error = Error::Corrupt("cpio member goes past the end of the archive");
        let header: RawHeader = image.read(offset).map_err(|_| TRUNCATED)?;
        header.check_digits()?;
        let namesize = hex(&header.namesize)?;
        if namesize == 0 || namesize > PATH_MAX {
            return Err(Error::Corrupt("cpio member with a bad name size"));
        }
        let size = u64::from(hex(&header.filesize)?);
        let name_offset = offset.saturating_add(HEADER_SIZE);
        let data_offset = round_up(name_offset.saturating_add(u64::from(namesize)));
        let end = data_offset.saturating_add(size);
        if end > image.len() {
            return Err(TRUNCATED);
        }
        let namesize = usize::try_from(namesize).map_err(|_| TRUNCATED)?;
        let name_len = image.strnlen_at(name_offset, namesize)?;
        // Like Linux: the last byte is a NUL, and the name ends at the first one.
        let last = name_offset.saturating_add(to_u64(namesize.saturating_sub(1)));
        if image.read::<u8>(last)? != 0 {
            return Err(Error::Corrupt("cpio member whose name has no NUL"));
        }
        let member = Member {
            header_offset: offset,
            name_offset,
            name_len,
            mode: hex(&header.mode)?,
            data_offset,
            size,
        };
        Ok((member, round_up(end)))
    }
}

impl RawHeader {
    /// All fields must be numbers, also those that nobody reads.
    fn check_digits(&self) -> Result<()> {
        let digits = self.as_bytes().get(6..).unwrap_or_default();
        match digits.iter().all(u8::is_ascii_hexdigit) {
            true => Ok(()),
            false => Err(BAD_NUMBER),
        }
    }
}

/// The members of all archives in an image, in order, without trailers.
///
/// Ends at the first byte that is neither zero nor the start of a newc header, which is where the
/// compressed part of an initrd starts; or after reporting a member that is malformed, which is
/// [`Error::Corrupt`].
#[derive(Clone, Debug)]
pub struct Walk<'a, I: ?Sized> {
    image: &'a I,
    /// Where to look for the next header; `None` after the end.
    pos: Option<u64>,
}

impl<'a, I: Image + ?Sized> Walk<'a, I> {
    /// A walk from the start of `image`.
    pub fn new(image: &'a I) -> Self {
        Walk {
            image,
            pos: Some(0),
        }
    }

    /// Where the walk is: behind the last member and its padding, or `None` after the end.
    pub fn pos(&self) -> Option<u64> {
        self.pos
    }

    /// Where the next header is, if there is one.
    fn find_header(&self) -> Result<Option<u64>> {
        let Some(pos) = self.pos else {
            return Ok(None);
        };
        let pos = skip_zeros(self.image, pos)?;
        if pos % ALIGN != 0 || self.image.check(pos, 6).is_err() {
            return Ok(None);
        }
        let magic: [u8; 6] = self.image.read(pos)?;
        Ok(matches!(&magic, b"070701" | b"070702").then_some(pos))
    }

    fn step(&mut self) -> Result<Option<Member>> {
        while let Some(pos) = self.find_header()? {
            let (member, next) = Member::read(self.image, pos)?;
            self.pos = Some(next);
            let is_trailer = self
                .image
                .cmp_at(member.name_offset, member.name_len, TRAILER)?
                .is_eq();
            if !is_trailer {
                return Ok(Some(member));
            }
        }
        Ok(None)
    }
}

impl<I: Image + ?Sized> Iterator for Walk<'_, I> {
    type Item = Result<Member>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.pos = None;
        }
        item
    }
}

impl<I: Image + ?Sized> core::iter::FusedIterator for Walk<'_, I> {}

/// The members that are EROFS images: regular files with EROFS's magic. Errors are those of
/// [`Walk`].
pub fn images<I: Image + ?Sized>(image: &I) -> impl Iterator<Item = Result<Member>> + '_ {
    Walk::new(image).filter(move |item| match item {
        Ok(member) => member.is_regular() && member.is_erofs(image),
        Err(_) => true,
    })
}

/// The position of the first byte from `pos` on that is not zero; the length if there is none.
fn skip_zeros(image: &(impl Image + ?Sized), mut pos: u64) -> Result<u64> {
    let mut words = [0_u64; 16];
    while let Some(left) = image.len().checked_sub(pos).filter(|left| *left != 0) {
        let bytes = words.as_mut_bytes();
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.get_mut(..count).unwrap_or_default();
        image.read_at(pos, part)?;
        // Padding can be long: whole words at a time.
        if words.iter().fold(0, |all, word| all | word) != 0 {
            let zeros = words.as_bytes().iter().take_while(|byte| **byte == 0);
            return Ok(pos.saturating_add(to_u64(zeros.count())));
        }
        pos = pos.saturating_add(to_u64(count));
    }
    Ok(pos)
}

/// A field of a header: digits only, in either case.
fn hex(digits: &[u8; 8]) -> Result<u32> {
    digits.iter().try_fold(0, |number: u32, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|value| (number << 4) | value)
            .ok_or(BAD_NUMBER)
    })
}

fn round_up(offset: u64) -> u64 {
    offset.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

fn copy_name<'b>(
    image: &(impl Image + ?Sized),
    offset: u64,
    len: usize,
    buf: &'b mut [u8],
) -> Result<&'b [u8]> {
    let len = len.min(buf.len());
    let name = buf.get_mut(..len).unwrap_or_default();
    image.read_at(offset, name)?;
    Ok(name)
}

#[cfg(test)]
mod tests;
