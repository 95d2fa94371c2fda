// SPDX-License-Identifier: GPL-2.0

//! The peers. A new one is a line in [`ROWS`].

use std::fmt;

use erodax_bench::Driver;

use super::images::Image;

/// A way to get at the tree.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name on the command line and in files.
    pub(crate) name: &'static str,
    /// Its name in tables.
    pub(crate) title: &'static str,
    pub(crate) driver: Driver,
    pub(crate) place: Place,
    pub(crate) image: Image,
    /// Mount options.
    pub(crate) options: &'static str,
}

/// Where the tree lies when the machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is none.
    Nowhere,
    /// Unpacked from the initrd by the kernel.
    Unpacked,
    /// The image lies in place in the initrd, which the kernel keeps.
    Initrd,
    /// The image lies in memory that the kernel leaves alone.
    CarveOut,
    /// The image lies in memory that is a pmem device.
    Pmem,
    /// The image is a file of the initramfs, and is copied to a RAM disk.
    RamDisk,
    /// The image is a file of the initramfs.
    File,
    /// The same, behind a loop device.
    Loop,
}

/// What the others are compared with.
pub(crate) const EMPTY: Row = Row {
    name: "empty",
    title: "empty initramfs",
    driver: Driver::None,
    place: Place::Nowhere,
    image: Image::None,
    options: "",
};

const fn row(
    name: &'static str,
    title: &'static str,
    driver: Driver,
    place: Place,
    image: Image,
    options: &'static str,
) -> Row {
    Row {
        name,
        title,
        driver,
        place,
        image,
        options,
    }
}

/// In the order of the table.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = {
    use Driver::{Erodax, Erofs, None, Squashfs};
    use Image::{Default, Lz4hc, Lz4hc64k, Lzma, NoInline, SquashLz4, SquashZstd, Zstd};
    use Place::{CarveOut, File, Initrd, Loop, Pmem, RamDisk, Unpacked};
    &[
        row("erodax", "erodax, initrd", Erodax, Initrd, Default, "dax"),
        row("erodax-noinline", "erodax, initrd, noinline", Erodax, Initrd, NoInline, "dax"),
        row("erodax-carve-out", "erodax, carve-out", Erodax, CarveOut, Default, "dax"),
        row("erodax-pmem", "erodax, pmem", Erodax, Pmem, Default, "dax"),
        row("erodax-copied", "erodax, initrd, dax=never", Erodax, Initrd, Default, "dax=never"),
        row("erodax-lz4hc", "erodax, initrd, lz4hc", Erodax, Initrd, Lz4hc, ""),
        row("erodax-lz4hc-64k", "erodax, initrd, lz4hc -C64K", Erodax, Initrd, Lz4hc64k, ""),
        row("erodax-zstd", "erodax, initrd, zstd", Erodax, Initrd, Zstd, ""),
        row("erodax-lzma", "erodax, initrd, lzma", Erodax, Initrd, Lzma, ""),
        row("pmem", "erofs, pmem dax", Erofs, Pmem, Default, "dax"),
        row("pmem-noinline", "erofs, pmem dax, noinline", Erofs, Pmem, NoInline, "dax"),
        row("brd", "erofs, brd", Erofs, RamDisk, Default, ""),
        row("file", "erofs, file", Erofs, File, Default, ""),
        row("cpio", "cpio, tmpfs", None, Unpacked, Image::None, ""),
        row("pmem-lz4hc", "erofs, pmem, lz4hc", Erofs, Pmem, Lz4hc, ""),
        row("pmem-lz4hc-64k", "erofs, pmem, lz4hc -C64K", Erofs, Pmem, Lz4hc64k, ""),
        row("pmem-zstd", "erofs, pmem, zstd", Erofs, Pmem, Zstd, ""),
        row("pmem-lzma", "erofs, pmem, lzma", Erofs, Pmem, Lzma, ""),
        row("squashfs-lz4", "squashfs, loop, lz4", Squashfs, Loop, SquashLz4, "ro"),
        row("squashfs-zstd", "squashfs, loop, zstd", Squashfs, Loop, SquashZstd, "ro"),
    ]
};

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}{}", self.name, self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_titles_are_unique() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        let titles: BTreeSet<_> = ROWS.iter().map(|row| row.title).collect();
        assert_eq!((names.len(), titles.len()), (ROWS.len(), ROWS.len()));
        assert!(!names.contains(EMPTY.name));
    }
}
