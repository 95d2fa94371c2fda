// SPDX-License-Identifier: GPL-2.0

//! The seeds: that they have what mutations are for, and that the checks hold for them and for
//! mutants of them.

use erodax_format::inode::Inode;
use erodax_format::superblock::SuperBlock;
use erodax_format::Error;
use erodax_mutation::field::Structure;
use erodax_mutation::places::{Found, Place, Places, SUPER_BLOCK};
use erodax_mutation::question::Question;
use erodax_mutation::{check, mutate};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Names and bytes of files.
type Files = BTreeMap<String, Vec<u8>>;

/// The images, the archives and the LZ4 blocks.
fn seeds() -> &'static (Files, Files, Files) {
    static SEEDS: OnceLock<(Files, Files, Files)> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_erodax-seeds"))
            .arg(dir.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        (
            read(&dir.path().join("images")),
            read(&dir.path().join("archives")),
            read(&dir.path().join("blocks")),
        )
    })
}

fn read(dir: &Path) -> Files {
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(file).collect()
}

const CHECKS: [fn(&[u8]); 8] = [
    check::superblock,
    check::inode,
    check::directory,
    check::extents,
    check::pclusters,
    check::devices,
    check::xattrs,
    check::image,
];

/// The decoder that the target fuzzes.
fn partial(block: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut output = vec![0; len];
    let written = lz4_flex::block::decompress_into_partial(block, &mut output).ok()?;
    output.truncate(written);
    Some(output)
}

/// Every check, for every inode that was found.
fn check_all(image: &[u8]) {
    let mut image = image.to_vec();
    let nids = Places::find(&image).nids;
    let root = SuperBlock::read(&image[..]).map_or(0, |sb| sb.root_nid());
    for nid in nids {
        let mut question = Question::of(&image);
        question.inode = nid.wrapping_sub(root);
        question.put(&mut image);
        CHECKS.iter().for_each(|check| check(&image));
    }
}

#[test]
fn checks_hold_for_seeds() {
    let (images, archives, blocks) = seeds();
    for image in images.values() {
        check_all(image);
    }
    for archive in archives.values() {
        check::archive(archive);
    }
    for block in blocks.values() {
        check::lz4(block, partial);
    }
}

/// A kind of structure that no seed has would never be patched.
#[test]
fn every_structure_is_in_some_seed() {
    let (images, archives, _) = seeds();
    let mut found: HashSet<Structure> = HashSet::new();
    for (name, image) in images {
        let places = Places::find(image);
        assert!(places.nids.len() > 20, "{name}: {:?}", places.nids);
        found.extend(places.all.iter().map(|found| found.place.structure));
    }
    for archive in archives.values() {
        let places = Places::find_cpio(archive);
        found.extend(places.all.iter().map(|found| found.place.structure));
    }
    assert_eq!(found.len(), 21, "{found:?}");
}

#[test]
fn fields_are_where_the_decoder_reads_them() {
    let mut image = seeds().0["b512.erofs"].clone();
    let sb = SuperBlock::read(&image[..]).unwrap();
    assert_eq!(SUPER_BLOCK.get(&image, "rb"), Some(sb.root_nid()));
    assert_eq!(SUPER_BLOCK.get(&image, "blocks_lo"), Some(sb.blocks()));
    let mut root = Inode::read(&image[..], &sb, sb.root_nid()).unwrap();
    let place = Place {
        structure: Structure::CompactInode,
        offset: usize::try_from(sb.inode_offset(root.nid).unwrap()).unwrap(),
    };
    let found = Found {
        place,
        owner: Some(root.nid),
    };
    assert!(Places::find(&image).all.contains(&found));
    assert_eq!(place.get(&image, "i_size"), Some(root.size));
    place.set(&mut image, "i_uid", 77);
    root.uid = 77;
    assert_eq!(Inode::read(&image[..], &sb, root.nid), Ok(root));
}

#[test]
fn archive_fields_are_digits() {
    let mut archive = seeds().1["plain.cpio"].clone();
    let place = Places::find_cpio(&archive).all[0].place;
    assert_eq!(place.get(&archive, "filesize"), Some(5));
    place.set(&mut archive, "filesize", 0xAB_1234_5678);
    assert_eq!(archive[54..62], *b"12345678");
}

/// Mutants get past the checksum, are not all alike, and can be made again.
#[test]
fn mutants() {
    for (name, seed) in &seeds().0 {
        let mut different = HashSet::new();
        for number in 0..200 {
            let mut image = seed.clone();
            mutate::image(&mut image, &[Structure::Dirent], number);
            let mut again = seed.clone();
            mutate::image(&mut again, &[Structure::Dirent], number);
            assert!(image == again, "{name} {number}");
            let read = SuperBlock::read(&image[..]);
            assert_ne!(read.err(), Some(Error::Checksum), "{name} {number}");
            different.insert(image);
        }
        assert!(different.len() > 100, "{name}");
    }
}

#[test]
fn checks_hold_for_mutants() {
    let (images, archives, blocks) = seeds();
    for seed in images.values() {
        let mut image = seed.clone();
        for number in 0..30 {
            // Damage adds up, and now and then it starts anew.
            if number % 10 == 0 {
                image.clone_from(seed);
            }
            mutate::image(&mut image, &[], number);
            CHECKS.iter().for_each(|check| check(&image));
        }
    }
    for seed in archives.values() {
        for number in 0..300 {
            let mut archive = seed.clone();
            mutate::cpio(&mut archive, number);
            check::archive(&archive);
        }
    }
    for seed in blocks.values() {
        for number in 0..300 {
            let mut block = [&seed[..], &[0; 2000]].concat();
            let room = block.len();
            let len = mutate::lz4(&mut block, seed.len(), room, number);
            check::lz4(&block[..len], partial);
        }
    }
}
