// SPDX-License-Identifier: GPL-2.0

//! The images of the test VMs, as declarations: the host makes them, the guest looks for them
//! under their names.

/// An image in a suite's initrd.
#[derive(Debug)]
pub struct Image {
    /// Its name in the initrd, `.erofs.d/NAME.erofs`.
    pub name: &'static str,
    /// What is in it.
    pub content: Content,
    /// Changes to its superblock.
    pub damage: &'static [Damage],
}

/// What an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A few files and a socket, made from a directory by `erodax pack` itself.
    Small,
    /// The generated tree of every kind of file and every size that matters, made by mkfs.erofs
    /// with these options. Its expectation lies at [`expectation_path`].
    Zoo {
        /// Further arguments of mkfs.erofs.
        mkfs: &'static [&'static str],
        /// Whether every file gets [`BUILD_TIME`] as its time of modification, which makes the
        /// inodes compact that can be.
        one_time: bool,
        /// Whether the rest of each file's last block is filled with garbage, which the format
        /// allows: nobody must get to see it. Only without inline tails.
        garbage: bool,
    },
    /// The generated tree, with the files' data on a device of its own, in chunks. The bytes of
    /// that device follow those of the image.
    Devices,
    /// The Debian tree of the payload. Its manifest lies at [`PAYLOAD_MANIFEST`].
    Payload,
}

/// A superblock field that is overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The field.
    pub field: Field,
    /// Its new value.
    pub value: u64,
    /// Whether the checksum is made to match afterwards: for damage that something else than the
    /// checksum must notice.
    pub checksum_fixed: bool,
}

/// Fields of `struct erofs_super_block`, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the names of the on-disk format")]
pub enum Field {
    /// `__le32 magic`
    magic,
    /// `__le32 checksum`
    checksum,
    /// `__u8 blkszbits`
    blkszbits,
    /// `__le32 blocks_lo`
    blocks_lo,
    /// `__le32 feature_incompat`
    feature_incompat,
    /// `__le16 available_compr_algs`
    available_compr_algs,
}

impl Field {
    /// Offset in the superblock and size, in bytes.
    pub const fn place(self) -> (usize, usize) {
        match self {
            Self::magic => (0, 4),
            Self::checksum => (4, 4),
            Self::blkszbits => (12, 1),
            Self::blocks_lo => (36, 4),
            Self::feature_incompat => (80, 4),
            Self::available_compr_algs => (84, 2),
        }
    }
}

impl Image {
    /// An undamaged image.
    pub const fn good(name: &'static str, content: Content) -> Self {
        Self {
            name,
            content,
            damage: &[],
        }
    }

    /// A small image with a damaged superblock.
    pub const fn damaged(name: &'static str, damage: &'static [Damage]) -> Self {
        Self {
            name,
            content: Content::Small,
            damage,
        }
    }
}

/// Build time of every image, in seconds since 1970.
pub const BUILD_TIME: i64 = 1_700_000_000;

/// Where in its page the image of a machine begins that is [`prefixed`](crate::Machine::prefixed):
/// at a sector's begin, as in the RFC that asked for such mounts.
pub const UNALIGNED_BY: u64 = 1536;

/// Content of `hello` in a small image.
pub const HELLO: &str = "an image where the boot loader left it\n";

/// Where the guest finds the payload's manifest, in the form of sha256sum.
pub const PAYLOAD_MANIFEST: &str = "/expect/payload.sha256";

/// Where the guest finds what an image of a generated tree must show.
pub fn expectation_path(image: &str) -> String {
    format!("/expect/{image}.json")
}

/// Where the guest finds the SHA-256 of an image of a generated tree.
pub fn digest_path(image: &str) -> String {
    format!("/expect/{image}.sha256")
}
