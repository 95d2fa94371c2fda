// SPDX-License-Identifier: GPL-2.0

//! Superblocks that stock EROFS refuses: with the same error code through both drivers.

use anyhow::{ensure, Result};
use rustix::io::Errno;

use crate::{
    beside::Beside,
    image::{Damage, Image},
};

const METABOX: u64 = 1 << 8;
const FRAGMENTS: u64 = 1 << 5;
const COMPR_CFGS: u64 = 1 << 1;
const ISHARE_XATTRS: u64 = 1 << 5;
/// What mkfs.erofs sets by itself.
const COMPAT: u64 = 7;

/// Small images with these superblocks.
pub(super) const IMAGES: [Image; 12] = [
    Image::damaged("refused-blkszbits-13", &[Damage::sealed("blkszbits", 13)]),
    Image::damaged("refused-blkszbits-8", &[Damage::sealed("blkszbits", 8)]),
    Image::damaged("refused-dirblkbits", &[Damage::sealed("dirblkbits", 1)]),
    Image::damaged(
        "refused-checksum",
        &[Damage {
            field: "checksum",
            value: 0x1234_5678,
            checksum_fixed: false,
        }],
    ),
    Image::damaged(
        "refused-incompat",
        &[Damage::sealed("feature_incompat", 1 << 9)],
    ),
    Image::damaged("refused-extslots", &[Damage::sealed("sb_extslots", 255)]),
    Image::damaged(
        "refused-algorithm",
        &[
            Damage::sealed("feature_incompat", COMPR_CFGS),
            Damage::sealed("u1", 1 << 4),
        ],
    ),
    Image::damaged(
        "refused-digests",
        &[
            Damage::sealed("feature_compat", COMPAT | ISHARE_XATTRS),
            Damage::sealed("ishare_xattr_prefix_id", 3),
        ],
    ),
    Image::damaged(
        "refused-metabox-without-nid",
        &[Damage::sealed("feature_incompat", METABOX)],
    ),
    Image::damaged(
        "refused-metabox-in-itself",
        &[
            Damage::sealed("feature_incompat", METABOX),
            Damage::sealed("sb_extslots", 1),
            Damage::sealed("metabox_nid", 1 << 63),
        ],
    ),
    Image::damaged(
        "refused-packed",
        &[
            Damage::sealed("feature_incompat", FRAGMENTS),
            Damage::sealed("packed_nid", 0x1_0000),
        ],
    ),
    Image::damaged("refused-root", &[Damage::sealed("rb", 0xffff)]),
];

pub(super) fn same_refusals() -> Result<()> {
    let beside = Beside::of_initrd()?;
    for image in &IMAGES {
        let [ours, theirs] = beside
            .mount(image.name, "")?
            .map(|mount| mount.map(drop).map_err(|error| error.errno));
        let refused = theirs.is_err() && theirs != Err(Errno::BUSY);
        ensure!(refused, "{}: stock says {theirs:?}", image.name);
        ensure!(ours == theirs, "{}: {ours:?}, stock {theirs:?}", image.name);
    }
    beside.unload()
}
