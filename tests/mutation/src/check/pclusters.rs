// SPDX-License-Identifier: GPL-2.0

mod expected;

use super::Subject;
use crate::views::{Counting, Decoded};
use erodax_format::pcluster::{
    Cursor, Data, Encoded, Encoding, MapHeader, Pcluster, MAX_DECODED_SIZE, MAX_ENCODED_SIZE,
};
use erodax_format::{Error, Volume};
use expected::Expected;

/// How many extents of a file are looked at, and how many of its bytes.
const MAX_EXTENTS: usize = 32;
const MAX_BYTES: u64 = 4096;

/// More elements of an index are not read in one search: twice those that the largest pcluster has.
/// The shortest records are all read up to the one that is wanted.
fn max_reads(image: &[u8]) -> u64 {
    let records = u64::try_from(image.len() / 4).unwrap_or(u64::MAX);
    2 * (MAX_DECODED_SIZE / 512) + records + 64
}

/// Compressed files: their map header, and the index that it tells of.
pub fn pclusters(image: &[u8]) {
    let volume = Decoded::new(image);
    let Some(subject) = Subject::on(&volume, image) else {
        return;
    };
    let Ok(header) = subject.inode.map_header(&volume, &subject.sb) else {
        return;
    };
    check_ends(&volume, &subject, &header);
    let expected = Expected::of(image, &subject.sb, &subject.inode);
    check_row(&volume, &subject, &header, &expected);
    if !subject.inode.in_metabox() {
        check_effort(image, &subject, &header);
    }
    check_bytes(&volume, &subject, &expected);
}

fn check_ends(volume: &Decoded<'_>, subject: &Subject<'_>, header: &MapHeader) {
    let Subject { sb, inode, .. } = subject;
    for pos in [inode.size, inode.size.saturating_add(1), u64::MAX] {
        let found = inode.pcluster_at(volume, sb, header, &mut Cursor::default(), pos);
        assert_eq!(found, Err(Error::OutOfBounds));
    }
}

/// One extent after the other, from the position in question on.
fn check_row(volume: &Decoded<'_>, subject: &Subject<'_>, header: &MapHeader, expected: &Expected) {
    let Subject {
        sb,
        inode,
        question,
        ..
    } = subject;
    let find = |cursor: &mut Cursor, pos| inode.pcluster_at(volume, sb, header, cursor, pos);
    let mut cursor = Cursor::default();
    let mut pos = subject.pos_in(inode.size);
    for _ in 0..MAX_EXTENTS {
        if pos >= inode.size {
            break;
        }
        let found = find(&mut cursor, pos);
        // Another way may come across a mistake that this one does not pass.
        if let (true, Ok(again)) = (found.is_ok(), find(&mut Cursor::default(), pos)) {
            assert!(
                !expected.is_ordered() || found == Ok(again),
                "by another way"
            );
        }
        let Ok(pcluster) = found else { break };
        check_pcluster(volume, subject, &pcluster, pos);
        expected.check(&pcluster, pos);
        // Anywhere else in it, too.
        let other = pcluster.start + u64::from(question.name) % pcluster.len;
        if let Ok(again) = find(&mut Cursor::default(), other) {
            check_pcluster(volume, subject, &again, other);
            expected.check(&again, other);
        }
        pos = pcluster.start + pcluster.len;
    }
}

/// What must hold for every pcluster that is found.
fn check_pcluster(volume: &Decoded<'_>, subject: &Subject<'_>, pcluster: &Pcluster, pos: u64) {
    let Subject { sb, inode, .. } = subject;
    let end = pcluster.start.checked_add(pcluster.len).expect("an end");
    assert!(end <= inode.size, "{pcluster:?}");
    // One whose end was not searched for has at least this much.
    assert!((pcluster.start..end).contains(&pos), "{pos}: {pcluster:?}");
    match &pcluster.data {
        Data::Hole => {}
        Data::Fragment { offset } => {
            let packed = sb.packed().expect("a packed inode");
            assert!(packed.size - offset >= pcluster.len, "{pcluster:?}");
            assert_ne!(packed.nid, inode.nid);
        }
        Data::Encoded(encoded) => check_encoded(volume, subject, pcluster, encoded),
    }
}

fn check_encoded(
    volume: &Decoded<'_>,
    subject: &Subject<'_>,
    pcluster: &Pcluster,
    encoded: &Encoded,
) {
    use erodax_format::pcluster::Place;
    let Subject { sb, inode, .. } = subject;
    assert!((1..=MAX_ENCODED_SIZE).contains(&encoded.len), "{encoded:?}");
    assert!(pcluster.len <= MAX_DECODED_SIZE, "{pcluster:?}");
    match encoded.place {
        Place::Device { device, offset } => {
            assert!(volume.device(device).is_ok());
            assert!(offset.checked_add(u64::from(encoded.len)).is_some());
        }
        Place::Metabox { offset } => {
            assert!(inode.in_metabox() && sb.metabox().is_ok());
            let room = u64::from(sb.block_size()) - sb.offset_in_block(offset);
            assert!(u64::from(encoded.len) <= room, "{encoded:?}");
        }
    }
    match encoded.encoding {
        Encoding::Compressed(algorithm) => {
            assert!(sb.algorithms().contains(algorithm));
            assert_eq!(pcluster.plain_part(sb, 0), None);
        }
        Encoding::Shifted | Encoding::Interlaced => check_plain(subject, pcluster, encoded),
    }
}

/// The parts of plain data have all bytes of the extent, and no byte of the pcluster twice.
fn check_plain(subject: &Subject<'_>, pcluster: &Pcluster, encoded: &Encoded) {
    let mut parts = Vec::new();
    let mut done = 0;
    while let Some(part) = pcluster.plain_part(&subject.sb, done) {
        assert!(part.len > 0 && part.offset + part.len <= u64::from(encoded.len));
        parts.push(part.offset..part.offset + part.len);
        done += part.len;
    }
    assert_eq!(done, pcluster.len, "{pcluster:?}");
    assert!(parts.len() <= 2, "{parts:?}");
    if let [first, second] = &parts[..] {
        assert!(first.end <= second.start || second.end <= first.start);
    }
}

/// A search ends soon, whatever the index leads to.
fn check_effort(image: &[u8], subject: &Subject<'_>, header: &MapHeader) {
    let Subject { sb, inode, .. } = subject;
    let counting = Counting::new(image);
    let again = inode.map_header(&counting, sb);
    assert_eq!(again.as_ref(), Ok(header));
    assert!(counting.take() <= max_reads(image));
    let pos = subject.pos_in(inode.size);
    let _ = inode.pcluster_at(&counting, sb, header, &mut Cursor::default(), pos);
    assert!(counting.take() <= max_reads(image));
}

/// Who reads a part gets the bytes that who reads all gets, unless the index contradicts itself.
fn check_bytes(volume: &Decoded<'_>, subject: &Subject<'_>, expected: &Expected) {
    let Subject {
        sb,
        inode,
        question,
        ..
    } = subject;
    let pos = subject.pos_in(inode.size);
    let len = (inode.size - pos).min(MAX_BYTES);
    let read = |pos: u64, len: u64| {
        let mut bytes = vec![0xA5; usize::try_from(len).unwrap_or(0)];
        let read = inode.read_data(volume, sb, pos, &mut bytes)?;
        assert_eq!(read, bytes.len());
        Ok::<_, Error>(bytes)
    };
    let Some(skip) = u64::from(question.len).checked_rem(len) else {
        return;
    };
    // Another way through the index may meet another mistake.
    if let (Ok(bytes), Ok(part)) = (read(pos, len), read(pos + skip, len - skip)) {
        let from = usize::try_from(skip).unwrap_or(0);
        assert!(
            !expected.is_known() || part == bytes[from..],
            "{pos} + {skip}"
        );
    }
}
