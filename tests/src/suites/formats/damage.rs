// SPDX-License-Identifier: GPL-2.0

//! Superblocks that stock EROFS refuses: with the same error code through both drivers.

use anyhow::{ensure, Result};
use rustix::io::Errno;

use crate::{
    beside::Beside,
    image::{Damage, Field, Image},
};

const METABOX: u64 = 1 << 8;
const FRAGMENTS: u64 = 1 << 5;
const COMPR_CFGS: u64 = 1 << 1;
const ISHARE_XATTRS: u64 = 1 << 5;
/// What mkfs.erofs sets by itself.
const COMPAT: u64 = 7;

/// Small images with these superblocks.
pub(super) const IMAGES: [Image; 12] = [
    Image::damaged(
        "refused-blkszbits-13",
        &[Damage::sealed(Field::blkszbits, 13)],
    ),
    Image::damaged(
        "refused-blkszbits-8",
        &[Damage::sealed(Field::blkszbits, 8)],
    ),
    Image::damaged(
        "refused-dirblkbits",
        &[Damage::sealed(Field::dirblkbits, 1)],
    ),
    Image::damaged(
        "refused-checksum",
        &[Damage {
            field: Field::checksum,
            value: 0x1234_5678,
            checksum_fixed: false,
        }],
    ),
    Image::damaged(
        "refused-incompat",
        &[Damage::sealed(Field::feature_incompat, 1 << 9)],
    ),
    Image::damaged(
        "refused-extslots",
        &[Damage::sealed(Field::sb_extslots, 255)],
    ),
    Image::damaged(
        "refused-algorithm",
        &[
            Damage::sealed(Field::feature_incompat, COMPR_CFGS),
            Damage::sealed(Field::available_compr_algs, 1 << 4),
        ],
    ),
    Image::damaged(
        "refused-digests",
        &[
            Damage::sealed(Field::feature_compat, COMPAT | ISHARE_XATTRS),
            Damage::sealed(Field::ishare_xattr_prefix_id, 3),
        ],
    ),
    Image::damaged(
        "refused-metabox-without-nid",
        &[Damage::sealed(Field::feature_incompat, METABOX)],
    ),
    Image::damaged(
        "refused-metabox-in-itself",
        &[
            Damage::sealed(Field::feature_incompat, METABOX),
            Damage::sealed(Field::sb_extslots, 1),
            Damage::sealed(Field::metabox_nid, 1 << 63),
        ],
    ),
    Image::damaged(
        "refused-packed",
        &[
            Damage::sealed(Field::feature_incompat, FRAGMENTS),
            Damage::sealed(Field::packed_nid, 0x1_0000),
        ],
    ),
    Image::damaged("refused-root", &[Damage::sealed(Field::rootnid_2b, 0xffff)]),
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
