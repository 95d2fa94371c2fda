// SPDX-License-Identifier: GPL-2.0

//! The archives that a file starts with.

use erodax_format::newc::{Member, Walk};
use erodax_format::Image;

/// Header, name and padding of the usual trailer.
const TRAILER_LEN: u64 = 124;

/// A newc archive inside an initrd.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    /// Its members without the trailer; at least one.
    pub(crate) members: Vec<Member>,
}

/// The uncompressed archives at the start of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archives {
    pub(crate) archives: Vec<Archive>,
    /// Where the first byte lies that is neither in a well-formed archive nor zero; the
    /// image's length if there is none.
    pub(crate) end: u64,
    /// What is wrong with the member at `end`.
    pub(crate) malformed: Option<erodax_format::Error>,
}

impl Archives {
    /// Walks the archives.
    pub(crate) fn scan(image: &impl Image) -> Self {
        let mut walk = Walk::new(image);
        let mut found = Self::default();
        let mut expected = 0;
        while let Some(item) = walk.next() {
            match item {
                Ok(member) => found.push(member, member.header_offset == expected),
                Err(error) => found.malformed = Some(error),
            }
            expected = walk.pos().unwrap_or(expected);
        }
        found.end = skip_trailers(image, expected);
        found
    }

    /// Members of one archive follow one another without a gap; trailers make one.
    fn push(&mut self, member: Member, adjacent: bool) {
        match self.archives.last_mut() {
            Some(archive) if adjacent => archive.members.push(member),
            _ => self.archives.push(Archive {
                members: vec![member],
            }),
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.archives.iter().flat_map(|archive| &archive.members)
    }
}

/// The whole name of a member.
pub(crate) fn member_name(image: &impl Image, member: &Member) -> Vec<u8> {
    let mut name = vec![0; member.name_len];
    let len = member.path(image, &mut name).map_or(0, <[u8]>::len);
    name.truncate(len);
    name
}

fn skip_trailers(image: &impl Image, mut position: u64) -> u64 {
    loop {
        position = skip_zeros(image, position);
        if !is_trailer(image, position) {
            return position.min(image.len());
        }
        position = position.saturating_add(TRAILER_LEN);
    }
}

fn is_trailer(image: &impl Image, position: u64) -> bool {
    let matches = |offset, bytes: &[u8]| {
        image
            .cmp_at(offset, bytes.len(), bytes)
            .is_ok_and(|order| order.is_eq())
    };
    let name = position.saturating_add(110);
    matches(position, b"07070") && matches(name, b"TRAILER!!!\0")
}

fn skip_zeros(image: &impl Image, mut position: u64) -> u64 {
    let mut buffer = [0; 4096];
    loop {
        let left = image.len().saturating_sub(position);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..count];
        if piece.is_empty() || image.read_at(position, piece).is_err() {
            return position;
        }
        let zeros = piece.iter().take_while(|&&b| b == 0).count();
        position += u64::try_from(zeros).expect("at most a page");
        if zeros < count {
            return position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::newc_writer::{Member as Header, NewcWriter};

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut writer = NewcWriter::new(Vec::new(), 0);
        for name in names {
            writer
                .member(name.as_bytes(), &Header::default(), name.as_bytes())
                .unwrap();
        }
        writer.finish().unwrap()
    }

    fn names(bytes: &[u8]) -> (Vec<Vec<String>>, u64) {
        let image = &bytes;
        let found = Archives::scan(image);
        let name = |m: &Member| String::from_utf8(member_name(image, m)).unwrap();
        let names = |a: &Archive| a.members.iter().map(name).collect();
        (found.archives.iter().map(names).collect(), found.end)
    }

    #[test]
    fn archives_are_told_apart() {
        let first = archive(&["a", "dir/b"]);
        let bytes = [first.clone(), vec![0; 512], archive(&["c"])].concat();
        let (found, end) = names(&bytes);
        assert_eq!(found, [vec!["a", "dir/b"], vec!["c"]]);
        assert_eq!(end, u64::try_from(bytes.len()).unwrap());
    }

    #[test]
    fn what_follows_is_found() {
        let mut bytes = [archive(&["a"]), vec![0; 3]].concat();
        let at = u64::try_from(bytes.len()).unwrap();
        bytes.extend(b"\x28\xb5\x2f\xfd");
        assert_eq!(names(&bytes).1, at);
        assert_eq!(names(b"\x1f\x8b").1, 0);
        assert_eq!(names(b"").1, 0);
    }

    #[test]
    fn a_malformed_member_is_located() {
        let mut bytes = archive(&["a"]);
        let at = u64::try_from(bytes.len()).unwrap();
        bytes.extend(b"070701 and nothing more");
        let found = Archives::scan(&bytes.as_slice());
        assert_eq!(found.archives.len(), 1);
        assert_eq!(found.end, at);
        assert!(matches!(
            found.malformed,
            Some(erodax_format::Error::Corrupt(_))
        ));
    }
}
