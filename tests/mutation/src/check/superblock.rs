// SPDX-License-Identifier: GPL-2.0

use crate::question::Question;
use crate::views::Minimal;
use erodax_format::names::Uuid;
use erodax_format::superblock::{has_magic, SuperBlock};
use erodax_format::xattr::Prefixes;
use erodax_format::Error;
use std::collections::BTreeSet;

/// The superblock, the configurations of algorithms, the device table, the long prefixes and the
/// special inodes.
pub fn superblock(image: &[u8]) {
    let read = SuperBlock::read(image);
    let other = SuperBlock::read(&Minimal(image));
    assert_eq!(format!("{read:?}"), format!("{other:?}"));
    let Ok(sb) = read else { return };
    assert!(has_magic(image));
    assert!((9..=12).contains(&sb.block_bits()));
    assert_eq!(sb.block_size(), 1 << sb.block_bits());
    let len = u64::try_from(image.len()).unwrap();
    assert!(sb.size() <= len && sb.blocks() <= sb.total_blocks());
    assert!(!sb.volume_name().contains(&0) && sb.volume_name().len() <= sb.uuid().len());
    check_names(&sb);
    check_devices(image, &sb);
    check_numbers(&sb, &Question::of(image));
    let prefixes = Prefixes::new(image, &sb).count();
    assert!(prefixes <= usize::from(sb.xattr_prefix_count()));
    // With one byte less than it claims to have, it is no image.
    if let Some(claimed) = usize::try_from(sb.size()).ok().filter(|size| *size != 0) {
        let shorter = SuperBlock::read(&image[..claimed - 1]);
        assert!(matches!(shorter, Err(Error::Invalid(_))));
    }
}

/// Each feature has a name of its own, and a UUID's form is fixed.
fn check_names(sb: &SuperBlock) {
    let names: BTreeSet<String> = sb.features().map(|feature| feature.to_string()).collect();
    let bits = sb.feature_compat().count_ones() + sb.feature_incompat().count_ones();
    assert_eq!(u32::try_from(names.len()), Ok(bits));
    assert_eq!(Uuid(sb.uuid()).to_string().len(), 36);
}

fn check_devices(image: &[u8], sb: &SuperBlock) {
    let count = sb.extra_devices();
    let mut blocks = sb.blocks();
    for id in 1..=count {
        blocks = blocks.saturating_add(sb.device_slot(image, id).unwrap().blocks);
    }
    assert_eq!(blocks, sb.total_blocks());
    for id in [0, count.saturating_add(1)] {
        if id == 0 || id > count {
            assert_eq!(sb.device_slot(image, id), Err(Error::NoDevice));
        }
    }
}

fn check_numbers(sb: &SuperBlock, question: &Question) {
    let nid = question.inode;
    let next = nid.wrapping_add(1);
    if let (Ok(offset), Ok(behind)) = (sb.inode_offset(nid), sb.inode_offset(next)) {
        if nid >> 63 == next >> 63 {
            assert_eq!(behind - offset, 32);
        }
    }
    for other in [next, nid ^ (1 << 63), question.pos] {
        let is_same = sb.inode_number(nid) == sb.inode_number(other);
        assert_eq!(is_same, nid == other);
    }
}
