// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{Minimal, TestImage};
use proptest::prelude::*;

const REGULAR: u32 = 0o100_644;

/// Appends a member; `padding` more NULs end its name.
fn member(archive: &mut Vec<u8>, name: &[u8], mode: u32, body: &[u8], padding: usize) {
    let namesize = name.len() + 1 + padding;
    let header = format!(
        "070701{:08x}{mode:08X}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{namesize:08x}{:08x}",
        1, 0, 0, 1, 0, body.len(), 0, 0, 0, 0, 0,
    );
    archive.extend(header.as_bytes());
    archive.extend(name);
    archive.resize(archive.len() + 1 + padding, 0);
    align(archive);
    archive.extend(body);
    align(archive);
}

fn align(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn trailer(archive: &mut Vec<u8>) {
    member(archive, TRAILER, 0, b"", 0);
}

/// Names of the members, and the error that ends the walk.
fn walk(archive: &[u8]) -> (Vec<String>, Option<Error>) {
    let mut names = Vec::new();
    let mut error = None;
    let mut walk = Walk::new(archive);
    for item in &mut walk {
        assert_eq!(error, None, "nothing follows an error");
        match item {
            Ok(member) => {
                let mut buf = [0; 4096];
                let path = member.path(archive, &mut buf).unwrap();
                names.push(String::from_utf8_lossy(path).into_owned());
            }
            Err(reason) => error = Some(reason),
        }
    }
    assert_eq!(walk.next(), None);
    assert_eq!(walk.pos(), None);
    assert!(Walk::new(archive).eq(Walk::new(&Minimal(archive))));
    (names, error)
}

fn names(archive: &[u8]) -> Vec<String> {
    let (names, error) = walk(archive);
    assert_eq!(error, None);
    names
}

fn erofs() -> Vec<u8> {
    TestImage::new(12, 1).bytes
}

#[test]
fn fields() {
    let mut archive = Vec::new();
    member(&mut archive, b"dir", 0o040_755, b"", 0);
    member(&mut archive, b"dir/file", REGULAR, b"body!", 0);
    trailer(&mut archive);
    let mut walk = Walk::new(&archive[..]);
    let dir = walk.next().unwrap().unwrap();
    assert_eq!(
        dir,
        Member {
            header_offset: 0,
            name_offset: 110,
            name_len: 3,
            mode: 0o040_755,
            data_offset: 116,
            size: 0,
        }
    );
    let file = walk.next().unwrap().unwrap();
    assert_eq!((file.header_offset, file.mode), (116, REGULAR));
    assert_eq!((file.data_offset, file.size), (116 + 120, 5));
    assert_eq!(walk.pos(), Some(116 + 120 + 8));
    assert_eq!(walk.next(), None);
}

#[test]
fn concatenated() {
    // Miri takes a minute for what is longer.
    let most = if cfg!(miri) { 2_000 } else { 100_000 };
    let mut archive = Vec::new();
    member(&mut archive, b"a", REGULAR, b"1", 0);
    trailer(&mut archive);
    for padding in [0, 4, 508, most] {
        archive.resize(archive.len() + padding, 0);
        member(
            &mut archive,
            format!("b{padding}").as_bytes(),
            REGULAR,
            b"2",
            0,
        );
        trailer(&mut archive);
    }
    archive.extend([0; 1000]);
    let last = format!("b{most}");
    assert_eq!(names(&archive), ["a", "b0", "b4", "b508", &last]);
    archive.extend(b"\x28\xB5\x2F\xFD compressed");
    assert_eq!(names(&archive).len(), 5);
    assert_eq!(names(&[0; 5000]).len(), 0);
    assert_eq!(names(b"").len(), 0);
}

#[test]
fn ends_at_anything_else() {
    let mut archive = Vec::new();
    member(&mut archive, b"a", REGULAR, b"1", 0);
    let first = archive.clone();
    for end in [&b"070707"[..], b"07070", b"070703", b"0", b"junk"] {
        archive.truncate(first.len());
        archive.extend(end);
        assert_eq!(names(&archive), ["a"]);
    }
    // Not at a multiple of 4.
    archive.truncate(first.len());
    archive.extend([0; 2]);
    archive.extend(&first);
    assert_eq!(names(&archive), ["a"]);
}

#[test]
fn variants() {
    let mut archive = Vec::new();
    member(&mut archive, b"crc", REGULAR, b"1", 0);
    archive[5] = b'2';
    let at = archive.len();
    member(&mut archive, b"PADDED", REGULAR, b"2", 5);
    archive[at..at + 110].make_ascii_uppercase();
    // A trailer may have a body, and may be missing.
    member(&mut archive, TRAILER, REGULAR, b"junk", 0);
    member(&mut archive, b"TRAILER!!!s", REGULAR, b"", 0);
    assert_eq!(names(&archive), ["crc", "PADDED", "TRAILER!!!s"]);
    // So may the padding after the last body.
    archive.truncate(at);
    archive.truncate(at - 3);
    assert_eq!(names(&archive), ["crc"]);
}

#[test]
fn malformed() {
    let mut archive = Vec::new();
    member(&mut archive, b"first", REGULAR, b"1", 0);
    let at = archive.len();
    member(&mut archive, b"second", REGULAR, b"22", 0);
    let end = archive.len();
    member(&mut archive, b"third", REGULAR, b"3", 0);
    let first_only = |archive: &[u8]| {
        let (names, error) = walk(archive);
        assert_eq!(names, ["first"]);
        assert!(matches!(error, Some(Error::Corrupt(_))));
    };
    // Each digit must be one, also in the fields that nobody needs. Miri takes minutes for all.
    let step = if cfg!(miri) { 23 } else { 1 };
    for digit in (6..110).step_by(step) {
        for byte in *b"gG+- \0/:@`\xFF" {
            let mut bad = archive.clone();
            bad[at + digit] = byte;
            first_only(&bad);
        }
    }
    // A name of 0 or over 4096 bytes, or without a NUL; a body past the end.
    for (field, value) in [
        (94, "00000000"),
        (94, "00001001"),
        (94, "ffffffff"),
        (94, "00000005"),
        (54, "ffffffff"),
        (54, "00001000"),
    ] {
        let mut bad = archive.clone();
        bad[at + field..at + field + 8].copy_from_slice(value.as_bytes());
        first_only(&bad);
    }
    for len in (at + 6..end - 2).step_by(step) {
        first_only(&archive[..len]);
    }
}

#[test]
fn longest_name() {
    let mut archive = Vec::new();
    member(&mut archive, &[b'n'; 4095], REGULAR, b"", 0);
    assert_eq!(names(&archive)[0].len(), 4095);
    let mut archive = Vec::new();
    member(&mut archive, &[b'n'; 4096], REGULAR, b"", 0);
    assert!(walk(&archive).1.is_some());
}

#[test]
fn finds_images() {
    let mut archive = Vec::new();
    member(&mut archive, b"erofs.map", REGULAR, b"text", 0);
    member(&mut archive, b".erofs.d/root.erofs", REGULAR, &erofs(), 0);
    member(&mut archive, b"link", 0o120_777, &erofs(), 0);
    member(&mut archive, b"short.erofs", REGULAR, &erofs()[..1027], 0);
    member(&mut archive, b"zeros.erofs", REGULAR, &[0; 4096], 0);
    trailer(&mut archive);
    member(&mut archive, b"usr", REGULAR, &erofs(), 3);
    let found: Vec<_> = images(&archive[..])
        .map(|member| {
            let member = member.unwrap();
            let body = Part::new(&archive[..], member.data_offset, member.size).unwrap();
            assert!(superblock::SuperBlock::read(&body).is_ok());
            let mut buf = [0; 64];
            let name = member.image_name(&archive[..], &mut buf).unwrap();
            String::from_utf8(name.to_vec()).unwrap()
        })
        .collect();
    assert_eq!(found, ["root", "usr"]);
    // 1024 bytes behind the start of an empty body there is a magic, but of what follows.
    member(&mut archive, b"empty", REGULAR, b"", 0);
    let start = archive.len();
    let mut body = [0; 1024];
    let next_header = 116;
    body[1024 - next_header..][..4].copy_from_slice(&erofs()[1024..1028]);
    member(&mut archive, b"other", REGULAR, &body, 0);
    assert!(superblock::has_magic(&archive[start..]));
    assert_eq!(images(&archive[..]).count(), 2);
}

#[test]
fn images_report_an_error_once() {
    let mut archive = Vec::new();
    member(&mut archive, b"a.erofs", REGULAR, &erofs(), 0);
    let at = archive.len();
    member(&mut archive, b"b.erofs", REGULAR, &erofs(), 0);
    archive[at + 20] = b'?';
    let found: Vec<_> = images(&archive[..]).map(|item| item.is_ok()).collect();
    assert_eq!(found, [true, false]);
}

#[test]
fn image_names() {
    let name = |name: &[u8], room: usize| {
        let mut archive = Vec::new();
        member(&mut archive, name, REGULAR, b"", 2);
        let member = Walk::new(&archive[..]).next().unwrap().unwrap();
        let mut buf = [0; 300];
        let name = member.image_name(&archive[..], &mut buf[..room]).unwrap();
        String::from_utf8(name.to_vec()).unwrap()
    };
    assert_eq!(name(b"root.erofs", 64), "root");
    assert_eq!(name(b"./a/b.c/root.img.erofs", 64), "root.img");
    assert_eq!(name(b"/root", 64), "root");
    assert_eq!(name(b"root.erofs.gz", 64), "root.erofs.gz");
    assert_eq!(name(b".erofs", 64), ".erofs");
    assert_eq!(name(b"d/.erofs", 64), ".erofs");
    assert_eq!(name(b".erofs.d/", 64), "");
    assert_eq!(name(b"", 64), "");
    // Cut, not refused; the suffix goes first.
    assert_eq!(name(b"d/long-name.erofs", 9), "long-name");
    assert_eq!(name(b"d/long-name.erofs", 4), "long");
    assert_eq!(name(b"d/long-name.erofs", 0), "");
    let deep = [&b"d/".repeat(100)[..], b"root.erofs"].concat();
    assert_eq!(name(&deep, 64), "root");
    let long = [&b"d/"[..], &[b'n'; 250], b".erofs"].concat();
    assert_eq!(name(&long, 300).len(), 250);
}

#[derive(Clone, Debug)]
enum Piece {
    Member {
        name: Vec<u8>,
        body: Vec<u8>,
        image: bool,
        padding: usize,
    },
    Trailer {
        zeros: usize,
    },
}

fn piece() -> impl Strategy<Value = Piece> {
    let name = prop::collection::vec(prop_oneof![Just(b'/'), 1_u8..=255], 0..80);
    let body = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (name, body, any::<bool>(), 0_usize..6).prop_map(|(name, body, image, padding)| {
            Piece::Member { name, body, image, padding }
        }),
        1 => (0_usize..300).prop_map(|words| Piece::Trailer { zeros: 4 * words }),
    ]
}

fn build(pieces: &[Piece]) -> Vec<u8> {
    let mut archive = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Member {
                name,
                body,
                image,
                padding,
            } => {
                let body = if *image { &erofs() } else { body };
                member(&mut archive, name, REGULAR, body, *padding);
            }
            Piece::Trailer { zeros } => {
                trailer(&mut archive);
                archive.resize(archive.len() + zeros, 0);
            }
        }
    }
    archive
}

#[cfg(not(miri))]
proptest! {
    #[test]
    fn model(pieces in prop::collection::vec(piece(), 0..20)) {
        let archive = build(&pieces);
        let expected: Vec<_> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Member { name, body, image, .. } if name != TRAILER => {
                    Some((name.clone(), if *image { erofs() } else { body.clone() }))
                }
                _ => None,
            })
            .collect();
        let found: Vec<_> = Walk::new(&archive[..])
            .map(|member| {
                let member = member.unwrap();
                let mut buf = [0; 4096];
                let name = member.path(&archive[..], &mut buf).unwrap().to_vec();
                let start = usize::try_from(member.data_offset).unwrap();
                let size = usize::try_from(member.size).unwrap();
                (name, archive[start..start + size].to_vec())
            })
            .collect();
        let images_expected = expected.iter().filter(|(_, body)| *body == erofs()).count();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(images(&archive[..]).count(), images_expected);
    }

    /// Whatever the bytes are, members are inside the archive and follow one another.
    #[test]
    fn hostile(
        pieces in prop::collection::vec(piece(), 1..8),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = build(&pieces);
        for (index, value) in changes {
            let place = index.index(archive.len());
            archive[place] = value;
        }
        archive.truncate(archive.len().max(2048) - cut.index(1024));
        let image = &archive[..];
        let mut end = 0;
        for item in Walk::new(image) {
            let Ok(member) = item else { continue };
            prop_assert!(member.header_offset >= end && member.header_offset % 4 == 0);
            prop_assert!(member.data_offset >= member.header_offset + 110);
            end = member.data_offset + member.size;
            prop_assert!(image.check(0, end).is_ok());
            let mut buf = [0; 16];
            prop_assert!(member.image_name(image, &mut buf).is_ok());
        }
        prop_assert!(images(image).count() <= archive.len() / 110 + 1);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let archive = [b"070701", &bytes[..]].concat();
        prop_assert!(Walk::new(&archive[..]).count() <= 3);
    }
}
