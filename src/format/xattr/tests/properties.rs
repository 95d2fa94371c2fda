// SPDX-License-Identifier: GPL-2.0

//! Any xattrs, and any bytes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A few names, so that they meet often.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "[ab]{1,3}".prop_map(String::into_bytes),
        "overlay\\.[ab]{0,2}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..=255),
    ]
}

fn attrs() -> impl Strategy<Value = Vec<Attr>> {
    let prefix = prop_oneof![3 => Just(None), 2 => (0_u8..6).prop_map(Some)];
    let value = prop::collection::vec(any::<u8>(), 0..90);
    let attr = (0_u8..8, prefix, name(), value);
    let attr = attr.prop_map(|(index, prefix, name, value)| Attr {
        index,
        prefix,
        name,
        value,
    });
    prop::collection::vec(attr, 0..20)
}

proptest! {
    /// The xattrs of an inode are a list of own and shared ones; the first of a name counts.
    #[test]
    fn model(
        own in attrs(),
        shared in attrs(),
        others in prop::collection::vec((0_u8..8, name()), 10),
        has_filter in any::<bool>(),
    ) {
        let mut model = Vec::new();
        for attr in own.iter().chain(&shared) {
            let (index, infix) = match attr.prefix {
                None => (attr.index, &b""[..]),
                Some(id) => match LONG.get(usize::from(id)) {
                    Some((index, infix)) => (*index, *infix),
                    None => continue,
                },
            };
            let name = [infix, &attr.name].concat();
            model.push((index, name, attr.value.clone()));
        }
        let mut first = BTreeMap::new();
        let mut filter = !0;
        for (index, name, value) in &model {
            first.entry((*index, name.clone())).or_insert(value.clone());
            filter &= !filter_bit(*index, name);
        }
        if own.is_empty() && shared.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut ids = Vec::new();
        for attr in &shared {
            ids.push(u32::try_from(bytes.len() / 4).unwrap());
            bytes.extend(attr.encode());
        }
        let mut fixture = fixture(&area(filter, &ids, &own));
        let shared_block = u32::try_from(fixture.image.bytes.len() / BLOCK).unwrap();
        fixture.put(field::XATTR_BLOCK, &shared_block.to_le_bytes());
        fixture.image.bytes.extend(bytes);
        let end = fixture.image.bytes.len();
        let moved = u32::try_from(end / 4).unwrap();
        fixture.image.bytes.extend(table(&LONG));
        fixture
            .put(field::XATTR_PREFIX_START, &moved.to_le_bytes())
            .put(field::XATTR_PREFIX_COUNT, &[4]);
        if has_filter {
            fixture.with_filter();
        }

        prop_assert_eq!(fixture.list(), Ok(model.clone()));
        for ((index, name), value) in &first {
            prop_assert_eq!(fixture.get(*index, name), found(value));
        }
        for (index, name) in others {
            let expected = first.get(&(index, name.clone())).cloned();
            prop_assert_eq!(fixture.get(index, &name), Ok(expected));
        }
    }

    /// Any bytes: names and values are no longer than an entry can say, and lists end.
    #[test]
    fn hostile(
        bytes in prop::collection::vec(any::<u8>(), 12..2000),
        start in prop::collection::vec(any::<u8>(), 0..6),
        count in any::<u16>(),
        prefixes in prop::collection::vec(any::<u8>(), 0..300),
        features in any::<u8>(),
    ) {
        let mut bytes = bytes;
        for (to, from) in bytes.iter_mut().zip(start) {
            *to = from;
        }
        let mut fixture = fixture(&bytes);
        let inode = TestInode {
            xattr_count: count % 2000,
            ..TestInode::file(PLAIN, 0, 0)
        };
        fixture.image.put_inode(NID, &inode);
        fixture.with_prefixes(&LONG).put(PREFIXES + 8, &prefixes);
        fixture.put(field::FEATURE_COMPAT, &[features & 0x1E]);
        let image = fixture.image.image();
        let sb = fixture.image.superblock();
        let inode = Inode::read(image, &sb, fixture.nid).unwrap();
        let prefixes: Vec<_> = Prefixes::new(image, &sb).map_while(Result::ok).collect();
        prop_assert!(prefixes.len() <= 4);
        let xattrs = Xattrs::new(image, &sb, &prefixes);
        let mut entries = 0;
        if let Ok(mut list) = xattrs.list(&inode) {
            let mut value = vec![0; 1 << 16];
            let mut name = [0; NAME_MAX];
            for _ in 0..3000 {
                match list.next(&xattrs) {
                    Ok(None) => break,
                    Ok(Some(entry)) => {
                        entries += 1;
                        prop_assert!(entry.name_len <= NAME_MAX && entry.value_len < 1 << 16);
                        let _ = xattrs.copy_name(&entry, &mut name);
                        let _ = xattrs.copy_value(&entry, &mut value);
                    }
                    Err(_) => break,
                }
            }
        }
        prop_assert!(entries <= usize::from(count % 2000) + 255);
        let _ = xattrs.may_have_acl(&inode);
        for index in 0..8 {
            let _ = xattrs.get(&inode, index, b"", &mut []);
            let _ = xattrs.get(&inode, index, b"overlay.a", &mut [0; 100]);
        }
    }
}
