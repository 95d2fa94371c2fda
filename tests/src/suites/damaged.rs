// SPDX-License-Identifier: GPL-2.0

//! Images that cannot be mounted.

use std::path::PathBuf;

use anyhow::Result;
use rustix::io::Errno;

use crate::{
    erodax::{
        check_mountable, check_no_leak, image_range, load, mount_refused, mount_source,
        serve_initrd, unload, Device, Footprint, GOOD,
    },
    image::{Content, Craft, Damage, Image, Maker, Tree, Zoo},
    tests, Machine, Suite,
};

/// The packed inode is good, and the metabox inode is not.
const LINKED_METABOX: Image = Image::good(
    "linked-metabox",
    Content::Zoo(Zoo {
        tree: Tree::Compressible,
        maker: Maker::Next,
        mkfs: &["-zlz4hc", "-m4096:lz4hc", "-E48bit", "-Efragments"],
        craft: Some(Craft::LinkedMetabox),
        ..Zoo::DEFAULT
    }),
);

pub(super) static SUITE: Suite = Suite {
    name: "damaged_images",
    machine: Machine {
        images: &[
            Image::good(GOOD, Content::Small),
            Image::damaged("magic", &[Damage::sealed("magic", 0xE0F5_E1E3)]),
            Image::damaged("truncated", &[Damage::sealed("blocks_lo", 1 << 20)]),
            Image::damaged(
                "checksum",
                &[Damage {
                    field: "checksum",
                    value: 0x1234_5678,
                    checksum_fixed: false,
                }],
            ),
            Image::damaged("incompat", &[Damage::sealed("feature_incompat", 1 << 31)]),
            // COMPR_CFGS with an algorithm that does not exist yet.
            Image::damaged(
                "unsupported",
                &[
                    Damage::sealed("feature_incompat", 1 << 1),
                    Damage::sealed("u1", 1 << 15),
                ],
            ),
            Image::damaged("blocks8k", &[Damage::sealed("blkszbits", 13)]),
            Image::damaged("blocks256", &[Damage::sealed("blkszbits", 8)]),
            LINKED_METABOX,
        ],
        ..Machine::RETAINING
    },
    tests: tests![
        not_erofs,
        not_found_when_not_erofs,
        truncated,
        cut_short_by_the_region,
        wrong_checksum,
        unknown_incompat,
        unsupported_feature,
        block_size_over_a_page,
        block_size_too_small,
        region_too_short_for_a_superblock,
        metabox_that_is_a_link,
        refusals_leak_nothing,
    ],
};

fn check_refused(image: &str, errno: Errno, words: &[&str]) -> Result<()> {
    let module = serve_initrd()?;
    let before = Footprint::now()?;
    for options in ["dax", "", "dax=never"] {
        mount_refused(&Device::of(image)?.node, options, errno, words)?;
    }
    before.check()?;
    check_mountable()?;
    unload(module)
}

/// As [`check_refused`], for a range of memory of which the module cannot say what it is.
fn check_range_refused(address: u64, size: u64, errno: Errno, words: &[&str]) -> Result<()> {
    let module = load(&format!("region={address:#x},{size}"))?;
    mount_refused(&PathBuf::from("/dev/erodax0"), "dax", errno, words)?;
    unload(module)?;
    crate::erodax::check_usable()
}

fn not_erofs() -> Result<()> {
    let (address, size) = image_range("magic")?;
    check_range_refused(address, size, Errno::INVAL, &["erodax0", "magic"])
}

fn not_found_when_not_erofs() -> Result<()> {
    let module = serve_initrd()?;
    anyhow::ensure!(
        Device::of("magic").is_err(),
        "a member that is no EROFS image has a device"
    );
    unload(module)
}

fn truncated() -> Result<()> {
    check_refused("truncated", Errno::INVAL, &["shorter", "superblock"])
}

fn cut_short_by_the_region() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    check_range_refused(address, size - 1, Errno::INVAL, &["erodax0", "shorter"])
}

fn wrong_checksum() -> Result<()> {
    check_refused("checksum", Errno::BADMSG, &["checksum"])
}

fn unknown_incompat() -> Result<()> {
    check_refused("incompat", Errno::INVAL, &["feature"])
}

fn unsupported_feature() -> Result<()> {
    check_refused("unsupported", Errno::OPNOTSUPP, &["support"])
}

fn block_size_over_a_page() -> Result<()> {
    check_refused("blocks8k", Errno::INVAL, &["block size"])
}

fn block_size_too_small() -> Result<()> {
    check_refused("blocks256", Errno::INVAL, &["block size"])
}

fn region_too_short_for_a_superblock() -> Result<()> {
    let (address, _) = image_range(GOOD)?;
    for size in [1, 1024, 1024 + 127] {
        check_range_refused(address, size, Errno::INVAL, &["erodax0", "short"])?;
    }
    Ok(())
}

fn refusals_leak_nothing() -> Result<()> {
    let module = serve_initrd()?;
    let nodes = [
        "truncated",
        "checksum",
        "incompat",
        "unsupported",
        "blocks8k",
    ]
    .map(|image| Device::of(image).map(|device| device.node));
    let nodes: Vec<PathBuf> = nodes.into_iter().collect::<Result<_>>()?;
    check_no_leak(|| {
        for node in &nodes {
            anyhow::ensure!(crate::erodax::mount_source(node, "dax", "refused").is_err());
        }
        Ok(())
    })?;
    unload(module)
}

/// The last step of mounting fails: what the steps before have taken is given back. Were the packed
/// inode kept, unloading would find it.
fn metabox_that_is_a_link() -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(LINKED_METABOX.name)?;
    let refused = mount_source(&device.node, "", GOOD).map(drop);
    let errno = refused.map_err(|error| error.errno);
    anyhow::ensure!(errno == Err(Errno::UCLEAN), "{errno:?}");
    check_mountable()?;
    unload(module)
}
