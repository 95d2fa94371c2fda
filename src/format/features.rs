// SPDX-License-Identifier: GPL-2.0

//! Feature bits of the superblock, as far as reading depends on them.

/// `feature_compat`.
pub(crate) mod compat {
    /// The superblock has a checksum.
    pub(crate) const CHECKSUM: u32 = 1 << 0;
    /// The inline xattrs of inodes have a name filter.
    pub(crate) const XATTR_FILTER: u32 = 1 << 2;
    /// Shared xattrs are in the metabox.
    pub(crate) const SHARED_XATTRS_IN_METABOX: u32 = 1 << 3;
    /// Long xattr prefixes are in the image itself, whatever special inodes there are.
    pub(crate) const PLAIN_XATTR_PREFIXES: u32 = 1 << 4;
    /// One of the long xattr prefixes is that of content digests.
    pub(crate) const DIGEST_XATTRS: u32 = 1 << 5;
}

/// `feature_incompat`. Bits that concern single inodes only and need not be known beforehand are
/// missing: the inodes say it too.
pub(crate) mod incompat {
    /// Compressed data ends with its block: there is some, made by LZ4 at least.
    pub(crate) const LZ4_ZERO_PADDING: u32 = 1 << 0;
    /// The algorithms have configurations behind the superblock.
    pub(crate) const ALGORITHMS: u32 = 1 << 1;
    /// Some files are chunk-based.
    pub(crate) const CHUNKED_FILE: u32 = 1 << 2;
    /// There are more devices. The same bit says that compressed inodes use a second algorithm;
    /// `extra_devices` tells which is meant.
    pub(crate) const DEVICE_TABLE: u32 = 1 << 3;
    /// Files have parts in the packed inode.
    pub(crate) const FRAGMENTS: u32 = 1 << 5;
    /// The numbers of blocks in the superblock and the device table have 48 bits.
    pub(crate) const WIDE_ADDRESSES: u32 = 1 << 7;
    /// Inodes can be in the data of the metabox inode.
    pub(crate) const METABOX: u32 = 1 << 8;
    /// Every bit that the format defines.
    pub(crate) const ALL: u32 = (METABOX << 1) - 1;
}
