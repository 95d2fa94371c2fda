// SPDX-License-Identifier: GPL-2.0

//! Writing cpio archives in the "newc" format of the kernel's initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// Header and body both start at multiples of this.
pub(crate) const NEWC_ALIGN: u64 = 4;

/// Magic and thirteen fields of 8 hexadecimal digits.
const HEADER_LEN: u64 = 110;

const TRAILER: &[u8] = b"TRAILER!!!";

// Type bits of `st_mode`.
const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFREG: u32 = 0o100_000;

/// The fields of a member that are not worked out by the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// File type and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Modification time in seconds since 1970.
    pub(crate) mtime: u32,
    /// Length of the body in bytes.
    pub(crate) size: u32,
    /// Major and minor number of a device node.
    pub(crate) rdev: (u32, u32),
    pub(crate) link: Link,
}

impl Member {
    /// A directory of root's.
    pub(crate) fn directory(permissions: u32) -> Self {
        Self {
            mode: S_IFDIR | permissions,
            ..Self::default()
        }
    }
}

/// How a member shares its inode. The kernel joins members of one inode number
/// only when their link count is above one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// The only name: the writer takes the next inode number.
    #[default]
    Single,
    /// One of `nlink` names of the inode number `ino`.
    Shared { ino: u32, nlink: u32 },
}

/// Rounds up to where a header or a body may start.
pub(crate) fn align(position: u64) -> u64 {
    position.next_multiple_of(NEWC_ALIGN)
}

/// Bytes from the start of a member's header to the start of its body.
pub(crate) fn prelude_len(name: &[u8]) -> u64 {
    align(HEADER_LEN + len_u64(name) + 1)
}

/// Bytes that end an archive.
pub(crate) fn trailer_len() -> u64 {
    prelude_len(TRAILER)
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize is at most 64 bits wide")
}

/// Writes one archive, member by member: [`Self::begin`], the body through
/// [`Write`], [`Self::end`]; at last [`Self::finish`].
pub(crate) struct NewcWriter<W> {
    out: W,
    /// Bytes written so far, by which everything is aligned.
    position: u64,
    next_ino: u32,
    /// Bytes that the current member's body still lacks.
    missing: u64,
}

impl<W: Write> NewcWriter<W> {
    /// An archive that starts `position` bytes into the initrd.
    pub(crate) fn new(out: W, position: u64) -> Self {
        Self {
            out,
            position,
            next_ino: 1,
            missing: 0,
        }
    }

    /// Offset of the next byte to be written.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Takes an inode number for a member with several names.
    pub(crate) fn take_ino(&mut self) -> u32 {
        let ino = self.next_ino;
        self.next_ino += 1;
        ino
    }

    /// Writes the header of a member; exactly `member.size` bytes of body must follow.
    pub(crate) fn begin(&mut self, name: &[u8], member: &Member) -> io::Result<()> {
        let (ino, nlink) = match member.link {
            Link::Single => (self.take_ino(), 1),
            Link::Shared { ino, nlink } => (ino, nlink),
        };
        let namesize = u32::try_from(name.len() + 1)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fields = [
            ino,
            member.mode,
            member.uid,
            member.gid,
            nlink,
            member.mtime,
            member.size,
            0, // device, major and minor: all members are of one
            0,
            member.rdev.0,
            member.rdev.1,
            namesize,
            0, // checksum, unused by this variant
        ];
        let mut header = Vec::with_capacity(112 + name.len() + 4);
        header.extend_from_slice(b"070701");
        for field in fields {
            write!(header, "{field:08X}")?;
        }
        header.extend_from_slice(name);
        header.push(0);
        self.put(&header)?;
        self.pad()?;
        self.missing = u64::from(member.size);
        Ok(())
    }

    /// Ends the current member.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        assert_eq!(self.missing, 0, "a member's body is shorter than announced");
        self.pad()
    }

    /// A whole member with its body.
    pub(crate) fn member(&mut self, name: &[u8], member: &Member, body: &[u8]) -> io::Result<()> {
        let size =
            u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.begin(name, &Member { size, ..*member })?;
        self.write_all(body)?;
        self.end()
    }

    /// Writes the trailer and gives the underlying writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.next_ino = 0;
        self.member(TRAILER, &Member::default(), &[])?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += len_u64(bytes);
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        const ZEROS: [u8; 4] = [0; 4];
        let padding = align(self.position) - self.position;
        self.put(&ZEROS[..usize::try_from(padding).expect("less than 4")])
    }
}

/// Writes the body of the current member.
impl<W: Write> Write for NewcWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let count = u64::try_from(written).expect("usize is at most 64 bits wide");
        self.missing = self
            .missing
            .checked_sub(count)
            .expect("a member's body is longer than announced");
        self.position += count;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(build: impl FnOnce(&mut NewcWriter<Vec<u8>>)) -> Vec<u8> {
        let mut writer = NewcWriter::new(Vec::new(), 0);
        build(&mut writer);
        writer.finish().unwrap()
    }

    #[test]
    fn header_fields_are_in_the_order_of_the_format() {
        let bytes = archive(|w| {
            let member = Member {
                mode: 0o100_755,
                uid: 1,
                gid: 2,
                mtime: 3,
                rdev: (0x11, 0x22),
                ..Member::default()
            };
            w.member(b"ab", &member, b"body!").unwrap();
        });
        let header = "070701\
             00000001000081ED00000001000000020000000100000003\
             000000050000000000000000000000110000002200000003\
             00000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..116], b"ab\0\0\0\0"[..6].as_ref());
        assert_eq!(&bytes[116..124], b"body!\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
    }

    #[test]
    fn trailer_is_aligned_and_as_long_as_announced() {
        let bytes = archive(|_| ());
        assert_eq!(u64::try_from(bytes.len()).unwrap(), trailer_len());
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[110..121], b"TRAILER!!!\0");
    }

    #[test]
    fn inode_numbers_differ_unless_shared() {
        let bytes = archive(|w| {
            let shared = Link::Shared {
                ino: w.take_ino(),
                nlink: 2,
            };
            for (name, link) in [(b"a", shared), (b"b", Link::Single), (b"c", shared)] {
                w.member(
                    name,
                    &Member {
                        link,
                        ..Member::default()
                    },
                    b"",
                )
                .unwrap();
            }
        });
        let ino = |i: usize| &bytes[i * 112 + 6..i * 112 + 14];
        assert_eq!(
            [ino(0), ino(1), ino(2)],
            [b"00000001", b"00000002", b"00000001"]
        );
        assert_eq!(&bytes[38..46], b"00000002");
    }

    #[test]
    #[should_panic(expected = "shorter than announced")]
    fn a_short_body_is_a_bug() {
        let mut writer = NewcWriter::new(Vec::new(), 0);
        writer
            .begin(
                b"a",
                &Member {
                    size: 1,
                    ..Member::default()
                },
            )
            .unwrap();
        let _ = writer.end();
    }
}
