// SPDX-License-Identifier: GPL-2.0

//! The images of the test VMs, as declarations: the host makes them, the guest looks for them
//! under their names.

/// An image in a suite's initrd.
#[derive(Clone, Copy, Debug)]
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
    /// A generated tree.
    Zoo(Zoo),
    /// The guest's own binary, as a program to be started from the image.
    Program,
    /// gdb, its libraries, and a program to be traced.
    Debugger,
    /// The Debian tree of the payload. Its manifest lies at [`PAYLOAD_MANIFEST`].
    Payload,
}

/// An image of a generated tree. What it must show lies at [`expectation_path`]; a craft may change
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zoo {
    /// The tree.
    pub tree: Tree,
    /// Whose mkfs.erofs makes the image.
    pub maker: Maker,
    /// Further arguments of mkfs.erofs.
    pub mkfs: &'static [&'static str],
    /// Whether every file gets [`BUILD_TIME`] as its time of modification, which makes the inodes
    /// compact that can be.
    pub one_time: bool,
    /// Where the files' data is.
    pub data: Data,
    /// What is changed afterwards.
    pub craft: Option<Craft>,
}

impl Zoo {
    /// What mkfs.erofs of the build root makes of the whole tree by itself.
    pub const DEFAULT: Self = Self {
        tree: Tree::Whole,
        maker: Maker::Stable,
        mkfs: &[],
        one_time: false,
        data: Data::Inside,
        craft: None,
    };
}

/// Which tree is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Every kind of file, and every size that matters.
    Whole,
    /// The same with fewer files of each kind, and none that is large.
    Sample,
    /// Files with xattrs in common, in a directory: from archives mkfs.erofs makes no shared ones.
    Shared,
    /// That with two files of one and of three blocks of 2 MiB, and a page more each. Images of it fit
    /// the RAM disks of stock EROFS.
    Large,
    /// 70001 names of one file, 10000 of them in one directory.
    Crowd,
    /// Files of zeros, of noise and of much between, and some twice, in a directory: with fragments,
    /// mkfs.erofs 1.8 makes wrong images of archives.
    Compressible,
    /// Two files of which extents of any length can be made, in a directory as well.
    Dense,
    /// One file with one sentence, many times.
    Sentence,
}

/// A version of mkfs.erofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The build root's, of Debian stable.
    Stable,
    /// That of `ERODAX_MKFS_NEW`, 1.9 or newer.
    Next,
}

/// Where the data of an image's files is. That of further devices follows the image, where the
/// device table's flat addresses lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// In the image.
    Inside,
    /// On a further device, in chunks.
    Blob,
    /// In the tar archive that the image is an index of: a further device.
    Archive,
    /// In the images of two layers, which the image is merged of: two further devices.
    Layers,
}

/// Changes that make an image of one that mkfs.erofs makes no more, or never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Craft {
    /// The rest of each file's last block is filled with garbage, which the format allows: nobody
    /// must get to see it. Only without inline tails.
    Garbage,
    /// The data of files of over 2 MiB begins at multiples of that: `erodax align`.
    Aligned,
    /// Compact inodes with `EROFS_I_NLINK_1`, holes, inodes whose tail or xattrs are in the next
    /// block, and values where nobody looks.
    Compact,
    /// Extended inodes across blocks, holes, odd times, and bits that mean something in other
    /// inodes only; a superblock with further slots, with a label of all its 16 bytes and unknown
    /// compatible features.
    Extended,
    /// Name filters that are wrong, and a superblock that says not to use them.
    Unfiltered,
    /// Chunk indexes with 48-bit addresses, and with values in the fields that are ignored
    /// otherwise; a hole, the same chunk twice, and the largest chunks.
    Indexes,
    /// Chunk maps of 4 bytes with the bit for 48-bit addresses, which only indexes have.
    Map,
    /// Shared xattrs in the metabox.
    SharedInMetabox,
    /// The metabox inode is a symbolic link.
    LinkedMetabox,
    /// A file of [`LONG_MAP`] blocks, each of which is an extent of its own, and one that is
    /// nothing but a hole of [`LONG_HOLE`] bytes.
    Long,
    /// Flat addresses, which lead to the further device, in place of addresses on that.
    Redirected,
    /// A mistake in each of many files.
    Broken,
    /// What the first compressed bytes of [`BROKEN_STREAM`] are stored as is no stream of any
    /// algorithm.
    Streams,
    /// In some compressed files heads of the second type, with the algorithm that they had: every
    /// second head of LZ4, and all heads of other algorithms, where the first type means LZ4 then.
    SecondHeads,
    /// Extents without data in compressed files: by `LI_HOLE` in [`SPARSE_BY_FLAG`], by a number of
    /// blocks of 0 in [`SPARSE_BY_COUNT`].
    Holes,
    /// Those by a number of blocks only.
    HolesOfNoBlocks,
    /// `LI_HOLE` in [`SPARSE_INSIDE`], whose extents start inside of lclusters.
    HolesInside,
}

/// A superblock field that is overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The field, by its name in `struct erofs_super_block`.
    pub field: &'static str,
    /// Its new value.
    pub value: u64,
    /// Whether the checksum is made to match afterwards: for damage that something else than the
    /// checksum must notice.
    pub checksum_fixed: bool,
}

impl Damage {
    /// Damage that the checksum does not tell of.
    pub const fn sealed(field: &'static str, value: u64) -> Self {
        Self {
            field,
            value,
            checksum_fixed: true,
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

/// Lists of images as one, which must have as many as are in them.
pub(crate) const fn concatenated<const COUNT: usize>(lists: &[&[Image]]) -> [Image; COUNT] {
    let mut all = [Image::good("", Content::Small); COUNT];
    let (mut count, mut list) = (0, 0);
    while list < lists.len() {
        let mut index = 0;
        while index < lists[list].len() {
            all[count] = lists[list][index];
            count += 1;
            index += 1;
        }
        list += 1;
    }
    assert!(count == COUNT);
    all
}

/// Build time of every image, in seconds since 1970.
pub const BUILD_TIME: i64 = 1_700_000_000;

/// Where in its page the image of a machine begins that is [`prefixed`](crate::Machine::prefixed):
/// at a sector's begin, as in the RFC that asked for such mounts.
pub const UNALIGNED_BY: u64 = 1536;

/// The blocks of the file [`LONG_MAP_FILE`] that [`Craft::Long`] makes.
pub const LONG_MAP: u32 = 3 << 20;
/// That file.
pub const LONG_MAP_FILE: &str = "sizes/100001";
/// The bytes of the file [`LONG_HOLE_FILE`] that [`Craft::Long`] makes.
pub const LONG_HOLE: u64 = 1 << 40;
/// That file.
pub const LONG_HOLE_FILE: &str = "sizes/65536";

/// The file of a [compressible](Tree::Compressible) tree that [`Craft::Streams`] breaks. Its content
/// is nowhere else.
pub const BROKEN_STREAM: &str = "mixed/to-be-broken";

/// Files of a [compressible](Tree::Compressible) tree that crafts make sparse. Of the extents of
/// each, every [`SPARSE_EACH`]th is without data, from number [`SPARSE_FIRST`] on.
pub const SPARSE_BY_FLAG: &str = "again/twice";
/// See [`SPARSE_BY_FLAG`].
pub const SPARSE_BY_COUNT: &str = "mixed/large";
/// See [`SPARSE_BY_FLAG`].
pub const SPARSE_INSIDE: &str = "mixed/large";
/// See [`SPARSE_BY_FLAG`].
pub const SPARSE_FIRST: usize = 1;
/// See [`SPARSE_BY_FLAG`].
pub const SPARSE_EACH: usize = 3;

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
