// SPDX-License-Identifier: GPL-2.0

use super::*;
use erodax_mutation::{
    field::Structure,
    places::{Place, SUPER_BLOCK},
};

fn transcript(answers: &[(&str, Question, Answer)]) -> Transcript {
    let mut transcript = Transcript::default();
    for (path, question, answer) in answers {
        transcript.note(path, question.clone(), answer.clone());
    }
    transcript
}

fn texts(stock: &[(&str, Question, Answer)], ours: &[(&str, Question, Answer)]) -> Vec<String> {
    let found = find(&Image::new(&[]), &transcript(stock), &transcript(ours));
    found.into_iter().map(|found| found.text).collect()
}

#[test]
fn what_stock_serves_is_served_alike() {
    let page = |byte: u8| ("a", Question::Page(0), Ok(Value::content(&[byte])));
    assert!(texts(&[page(1)], &[page(1)]).is_empty());
    assert_eq!(texts(&[page(1)], &[page(2)]).len(), 1);
    assert_eq!(
        texts(&[page(1)], &[("a", Question::Page(0), Err(117))]).len(),
        1
    );
    assert_eq!(texts(&[page(1)], &[]).len(), 1);
}

#[test]
fn what_stock_refuses_may_be_anything() {
    let refused = ("", Question::Mount, Err(22));
    let mounted = ("", Question::Mount, Ok(Value::Done));
    let open = ("a", Question::Open, Err(5));
    assert!(texts(&[refused], &[mounted, open.clone()]).is_empty());
    assert!(texts(&[open], &[]).is_empty());
}

#[test]
fn what_follows_from_a_difference_is_none() {
    let entries = |answer| (".", Question::Entries, answer);
    let file = ("./a", Question::Target, Ok(Value::Bytes(vec![1])));
    let stock = [entries(Ok(Value::Names(Vec::new()))), file];
    let found = texts(&stock, &[entries(Err(117))]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(".: Entries"), "{found:?}");
}

#[test]
fn what_follows_the_end_of_a_file_is_not_compared() {
    let tail = |value| ("a", Question::Tail, Ok(value));
    let theirs = tail(Value::Bytes(vec![7]));
    assert!(texts(&[theirs], &[tail(Value::Done)]).is_empty());
}

fn class(
    image: &[u8],
    question: Question,
    theirs: Answer,
    more: (Question, Answer),
) -> Option<String> {
    let file = "./a";
    let stock = transcript(&[(file, question.clone(), theirs), (file, more.0, more.1)]);
    let ours = transcript(&[(file, question, Err(EUCLEAN))]);
    find(&Image::new(image), &stock, &ours)[0].class.clone()
}

/// An image whose superblock says this many blocks of 512 bytes.
fn image(blocks: u64) -> Vec<u8> {
    let mut image = vec![0; SIZE];
    SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
    SUPER_BLOCK.set(&mut image, "blkszbits", 9);
    SUPER_BLOCK.set(&mut image, "blocks_lo", blocks);
    image
}

#[test]
fn sizes_matter_where_they_differ() {
    let full = u64::try_from(SIZE).unwrap() / 512;
    let nothing = || (Question::Label, Err(1));
    let page = |blocks| {
        let content = Ok(Value::content(b"a"));
        class(&image(blocks), Question::Page(0), content, nothing())
    };
    assert!(page(full - 1).is_some());
    assert_eq!((page(full), page(full + 1)), (None, None));
    let mount = |blocks| class(&image(blocks), Question::Mount, Ok(Value::Done), nothing());
    let all = u64::try_from(PMEM_SIZE).unwrap() / 512;
    assert!(mount(all + 1).is_some());
    assert_eq!((mount(all), mount(full - 1)), (None, None));
}

#[test]
fn roots_may_be_too_far() {
    let mount = |root| {
        let mut image = image(u64::try_from(SIZE).unwrap() / 512);
        // 48 bit.
        SUPER_BLOCK.set(&mut image, "feature_incompat", 0x80);
        SUPER_BLOCK.set(&mut image, "rootnid_8b", root);
        class(
            &image,
            Question::Mount,
            Ok(Value::Done),
            (Question::Label, Err(1)),
        )
    };
    assert!(mount(WRAPS).is_some());
    assert!(mount(METABOX | WRAPS).is_some());
    assert_eq!((mount(36), mount(METABOX | 36)), (None, None));
}

/// With a metabox of ten bytes, which is the inode behind the superblock.
fn image_with_metabox() -> Vec<u8> {
    let mut image = image(u64::try_from(SIZE).unwrap() / 512);
    // Metabox and 48 bit.
    SUPER_BLOCK.set(&mut image, "feature_incompat", 0x180);
    SUPER_BLOCK.set(&mut image, "sb_extslots", 1);
    SUPER_BLOCK.set(&mut image, "metabox_nid", 40);
    let metabox = Place {
        structure: Structure::CompactInode,
        offset: 40 * 32,
    };
    metabox.set(&mut image, "i_mode", 0o100_644);
    metabox.set(&mut image, "i_size", 10);
    image
}

#[test]
fn numbers_lead_to_inodes() {
    for bytes in [image(10), image_with_metabox()] {
        let image = Image::new(&bytes);
        let sb = image.sb.as_ref().unwrap();
        let far = if image.has_metabox() { METABOX } else { 0 };
        for nid in [36, 1 << 30, far | 36, far | (1 << 40)] {
            let number = i128::from(sb.inode_number(nid));
            let attributes = Ok(Value::Numbers(vec![number]));
            assert_eq!(image.nid(&attributes), Some(nid));
        }
    }
}

#[test]
fn inodes_are_in_the_metabox() {
    let bytes = image_with_metabox();
    let image = Image::new(&bytes);
    assert!(image.has_metabox());
    assert_eq!(image.metabox_error(40), None);
    assert_eq!(image.metabox_error(METABOX), Some(Error::OutOfBounds));
}

#[test]
fn fragments_have_no_place_of_their_own() {
    let page = |physical| {
        let extents = Ok(Value::Extents(vec![[0, physical, 5, 1]]));
        let content = Ok(Value::content(b"a"));
        class(
            &[],
            Question::Page(0),
            content,
            (Question::Extents, extents),
        )
    };
    assert!(page(0).is_some());
    assert_eq!(page(512), None);
}

#[test]
fn links_are_read_with_their_inodes() {
    let link = |target| {
        let numbers = Ok(Value::Numbers(vec![36, 0, 0, 0, 0, 0, 2]));
        class(
            &[],
            Question::Attributes,
            numbers,
            (Question::Target, target),
        )
    };
    assert!(link(Err(5)).is_some());
    assert!(link(Ok(Value::Bytes(vec![1]))).is_some());
    assert!(link(Ok(Value::Bytes(Vec::new()))).is_some());
    assert_eq!(link(Ok(Value::Bytes(vec![1, 2]))), None);
}

#[test]
fn extents_end_with_their_file() {
    let extents = |len| Value::Extents(vec![[0, 512, 4096, 0], [4096, 1024, len, 1]]);
    assert!(differ_behind_the_end(&extents(4), &extents(9), 4100));
    assert!(!differ_behind_the_end(&extents(3), &extents(9), 4100));
    assert!(!differ_behind_the_end(&extents(4), &extents(4), 4100));
    let other = Value::Extents(vec![[0, 512, 4095, 0], [4096, 1024, 9, 1]]);
    assert!(!differ_behind_the_end(&extents(4), &other, 4100));
}

#[test]
fn addresses_that_nobody_has_are_all_alike() {
    let extent = |physical, len| Value::Extents(vec![[0, physical, len, 1]]);
    let far = 1 << 40;
    assert!(differ_behind_the_device(
        &extent(far, 5),
        &extent(u64::MAX, 5)
    ));
    assert!(!differ_behind_the_device(&extent(far, 5), &extent(512, 5)));
    assert!(!differ_behind_the_device(&extent(far, 5), &extent(far, 6)));
}
