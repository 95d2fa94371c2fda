// SPDX-License-Identifier: GPL-2.0

use crate::views::Minimal;
use erodax_format::newc::{self, Member, Walk};
use erodax_format::superblock::has_magic;

/// Size of a member's header.
const HEADER_SIZE: u64 = 110;

/// File type bits of a mode, and those of a regular file.
const MODE_TYPE: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;

/// newc archives, and the images in them.
pub fn archive(archive: &[u8]) {
    let len = u64::try_from(archive.len()).unwrap();
    let mut walk = Walk::new(archive);
    let mut members = Vec::new();
    let mut end = 0;
    while let Some(item) = walk.next() {
        let Ok(member) = item else {
            assert_eq!(walk.pos(), None);
            assert!(walk.next().is_none());
            break;
        };
        assert!(member.header_offset >= end && member.header_offset % 4 == 0);
        check_member(archive, &member);
        end = member.data_offset.saturating_add(member.size);
        assert!(end <= len);
        assert!(walk.pos().is_some_and(|pos| pos >= end && pos % 4 == 0));
        members.push(member);
    }
    let minimal = Minimal(archive);
    let again: Vec<Member> = Walk::new(&minimal).map_while(Result::ok).collect();
    assert_eq!(members, again);
    let images: Vec<Member> = newc::images(archive).map_while(Result::ok).collect();
    members.retain(|member| member.mode & MODE_TYPE == MODE_REGULAR && member.is_erofs(archive));
    assert_eq!(images, members);
}

fn check_member(archive: &[u8], member: &Member) {
    assert_eq!(member.name_offset, member.header_offset + HEADER_SIZE);
    assert!(member.data_offset > member.name_offset && member.data_offset % 4 == 0);
    let mut buf = [0; 4096];
    let path = member.path(archive, &mut buf).unwrap().to_vec();
    assert_eq!(path.len(), member.name_len);
    assert!(!path.contains(&0));
    let name = member.image_name(archive, &mut buf).unwrap();
    assert!(!name.contains(&b'/'));
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap();
    assert!(name == last || last == [name, b".erofs"].concat());
    assert_eq!(
        member.image_name(&Minimal(archive), &mut [0; 4096]),
        Ok(name)
    );
    let start = usize::try_from(member.data_offset).unwrap();
    let body = &archive[start..start + usize::try_from(member.size).unwrap()];
    assert_eq!(member.is_erofs(archive), has_magic(body));
}
