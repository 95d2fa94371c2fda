// SPDX-License-Identifier: GPL-2.0

//! The fields of the format's structures by name: those of `fs/erofs/erofs_fs.h` and of newc cpio.

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in Linux's headers.
    pub name: &'static str,
    /// Where in the structure it starts.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A structure of which images have one or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Structure {
    /// `struct erofs_super_block` with one extension slot.
    SuperBlock,
    /// A length, and `struct z_erofs_lz4_cfgs`; the configurations of other algorithms are not longer.
    Algorithm,
    /// `struct erofs_deviceslot`.
    DeviceSlot,
    /// A length, and the start of `struct erofs_xattr_long_prefix`.
    XattrPrefix,
    /// `struct erofs_inode_compact`.
    CompactInode,
    /// `struct erofs_inode_extended`.
    ExtendedInode,
    /// `struct erofs_dirent`.
    Dirent,
    /// `struct erofs_xattr_ibody_header`, and one shared id.
    XattrHeader,
    /// `struct erofs_xattr_entry`.
    XattrEntry,
    /// A block number in the array of a chunk-based inode.
    BlockMapEntry,
    /// `struct erofs_inode_chunk_index`.
    ChunkIndex,
    /// `struct z_erofs_map_header`.
    MapHeader,
    /// `struct z_erofs_lcluster_index`.
    LclusterIndex,
    /// A pack of 2 elements of 16 bits in a compact index.
    SmallPack,
    /// A pack of 16 elements of 14 bits in a compact index.
    LargePack,
    /// What the shortest records of encoded extents have before them.
    ExtentBase,
    /// The first 4 bytes of `struct z_erofs_extent`.
    Extent4,
    /// The first 8 bytes.
    Extent8,
    /// The first 16 bytes.
    Extent16,
    /// All of it.
    Extent32,
    /// The header of a newc member, in hexadecimal digits.
    CpioHeader,
}

impl Structure {
    /// Its fields, in order and without gaps.
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Structure::SuperBlock => &SUPER_BLOCK,
            Structure::Algorithm => &ALGORITHM,
            Structure::DeviceSlot => &DEVICE_SLOT,
            Structure::XattrPrefix => &XATTR_PREFIX,
            Structure::CompactInode => &COMPACT_INODE,
            Structure::ExtendedInode => &EXTENDED_INODE,
            Structure::Dirent => &DIRENT,
            Structure::XattrHeader => &XATTR_HEADER,
            Structure::XattrEntry => &XATTR_ENTRY,
            Structure::BlockMapEntry => &BLOCK_MAP_ENTRY,
            Structure::ChunkIndex => &CHUNK_INDEX,
            Structure::MapHeader => &MAP_HEADER,
            Structure::LclusterIndex => &LCLUSTER_INDEX,
            Structure::SmallPack => &SMALL_PACK,
            Structure::LargePack => &LARGE_PACK,
            Structure::ExtentBase => &EXTENT_BASE,
            Structure::Extent4 => EXTENT.split_at(1).0,
            Structure::Extent8 => EXTENT.split_at(2).0,
            Structure::Extent16 => EXTENT.split_at(4).0,
            Structure::Extent32 => &EXTENT,
            Structure::CpioHeader => &CPIO_HEADER,
        }
    }

    /// Size in bytes.
    pub const fn size(self) -> usize {
        let fields = self.fields();
        let last = fields[fields.len() - 1];
        last.offset + last.size
    }

    /// The field of this name.
    ///
    /// # Panics
    ///
    /// If there is none: names stand in the code of tests only.
    pub fn field(self, name: &str) -> Field {
        let found = self.fields().iter().find(|field| field.name == name);
        *found.unwrap_or_else(|| panic!("{self:?} has no field {name}"))
    }
}

/// Fields that follow one another.
const fn packed<const N: usize>(members: [(&'static str, usize); N]) -> [Field; N] {
    let mut fields = [Field {
        name: "",
        offset: 0,
        size: 0,
    }; N];
    let mut offset = 0;
    let mut index = 0;
    while index < N {
        let (name, size) = members[index];
        fields[index] = Field { name, offset, size };
        offset += size;
        index += 1;
    }
    fields
}

static SUPER_BLOCK: [Field; 30] = packed([
    ("magic", 4),
    ("checksum", 4),
    ("feature_compat", 4),
    ("blkszbits", 1),
    ("sb_extslots", 1),
    ("rb", 2),
    ("inos", 8),
    ("epoch", 8),
    ("fixed_nsec", 4),
    ("blocks_lo", 4),
    ("meta_blkaddr", 4),
    ("xattr_blkaddr", 4),
    ("uuid", 16),
    ("volume_name", 16),
    ("feature_incompat", 4),
    ("u1", 2),
    ("extra_devices", 2),
    ("devt_slotoff", 2),
    ("dirblkbits", 1),
    ("xattr_prefix_count", 1),
    ("xattr_prefix_start", 4),
    ("packed_nid", 8),
    ("xattr_filter_reserved", 1),
    ("ishare_xattr_prefix_id", 1),
    ("reserved", 2),
    ("build_time", 4),
    ("rootnid_8b", 8),
    ("reserved2", 8),
    ("metabox_nid", 8),
    ("reserved3", 8),
]);

static ALGORITHM: [Field; 4] = packed([
    ("length", 2),
    ("max_distance", 2),
    ("max_pclusterblks", 2),
    ("reserved", 10),
]);

static DEVICE_SLOT: [Field; 6] = packed([
    ("tag", 64),
    ("blocks_lo", 4),
    ("uniaddr_lo", 4),
    ("blocks_hi", 2),
    ("uniaddr_hi", 2),
    ("reserved", 52),
]);

static XATTR_PREFIX: [Field; 3] = packed([("length", 2), ("base_index", 1), ("infix", 1)]);

static COMPACT_INODE: [Field; 11] = packed([
    ("i_format", 2),
    ("i_xattr_icount", 2),
    ("i_mode", 2),
    ("i_nb", 2),
    ("i_size", 4),
    ("i_mtime", 4),
    ("i_u", 4),
    ("i_ino", 4),
    ("i_uid", 2),
    ("i_gid", 2),
    ("i_reserved", 4),
]);

static EXTENDED_INODE: [Field; 13] = packed([
    ("i_format", 2),
    ("i_xattr_icount", 2),
    ("i_mode", 2),
    ("i_nb", 2),
    ("i_size", 8),
    ("i_u", 4),
    ("i_ino", 4),
    ("i_uid", 4),
    ("i_gid", 4),
    ("i_mtime", 8),
    ("i_mtime_nsec", 4),
    ("i_nlink", 4),
    ("i_reserved2", 16),
]);

static DIRENT: [Field; 4] = packed([
    ("nid", 8),
    ("nameoff", 2),
    ("file_type", 1),
    ("reserved", 1),
]);

static XATTR_HEADER: [Field; 4] = packed([
    ("h_name_filter", 4),
    ("h_shared_count", 1),
    ("h_reserved2", 7),
    ("h_shared_xattrs", 4),
]);

static XATTR_ENTRY: [Field; 3] =
    packed([("e_name_len", 1), ("e_name_index", 1), ("e_value_size", 2)]);

static BLOCK_MAP_ENTRY: [Field; 1] = packed([("startblk", 4)]);

static CHUNK_INDEX: [Field; 3] = packed([("startblk_hi", 2), ("device_id", 2), ("startblk_lo", 4)]);

static MAP_HEADER: [Field; 4] = packed([
    // Or `h_extents_lo`, or `h_idata_size` in the upper half.
    ("h_fragmentoff", 4),
    ("h_advise", 2),
    ("h_algorithmtype", 1),
    ("h_clusterbits", 1),
]);

static LCLUSTER_INDEX: [Field; 4] = packed([
    ("di_advise", 2),
    ("di_clusterofs", 2),
    // Or the halves of `blkaddr`.
    ("delta0", 2),
    ("delta1", 2),
]);

static SMALL_PACK: [Field; 3] = packed([("element0", 2), ("element1", 2), ("blkaddr", 4)]);

/// The elements are not made of whole bytes; four of them are.
static LARGE_PACK: [Field; 5] = packed([
    ("elements0", 7),
    ("elements4", 7),
    ("elements8", 7),
    ("elements12", 7),
    ("blkaddr", 4),
]);

static EXTENT_BASE: [Field; 1] = packed([("pstart", 8)]);

static EXTENT: [Field; 6] = packed([
    ("plen", 4),
    ("pstart_lo", 4),
    ("pstart_hi", 4),
    ("lstart_lo", 4),
    ("lstart_hi", 4),
    ("reserved", 12),
]);

static CPIO_HEADER: [Field; 14] = packed([
    ("magic", 6),
    ("ino", 8),
    ("mode", 8),
    ("uid", 8),
    ("gid", 8),
    ("nlink", 8),
    ("mtime", 8),
    ("filesize", 8),
    ("devmajor", 8),
    ("devminor", 8),
    ("rdevmajor", 8),
    ("rdevminor", 8),
    ("namesize", 8),
    ("check", 8),
]);

const _: () = assert!(Structure::SuperBlock.size() == 144);
const _: () = assert!(Structure::Algorithm.size() == 16);
const _: () = assert!(Structure::DeviceSlot.size() == 128);
const _: () = assert!(Structure::CompactInode.size() == 32);
const _: () = assert!(Structure::ExtendedInode.size() == 64);
const _: () = assert!(Structure::Dirent.size() == 12);
const _: () = assert!(Structure::XattrHeader.size() == 16);
const _: () = assert!(Structure::XattrEntry.size() == 4);
const _: () = assert!(Structure::ChunkIndex.size() == 8);
const _: () = assert!(Structure::MapHeader.size() == 8);
const _: () = assert!(Structure::LclusterIndex.size() == 8);
const _: () = assert!(Structure::SmallPack.size() == 8);
const _: () = assert!(Structure::LargePack.size() == 32);
const _: () = assert!(Structure::Extent4.size() == 4);
const _: () = assert!(Structure::Extent8.size() == 8);
const _: () = assert!(Structure::Extent16.size() == 16);
const _: () = assert!(Structure::Extent32.size() == 32);
const _: () = assert!(Structure::CpioHeader.size() == 110);
