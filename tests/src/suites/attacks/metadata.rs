// SPDX-License-Identifier: GPL-2.0

//! Metadata that is compressed itself and does not decode.

use std::path::Path;

use anyhow::{bail, ensure, Result};
use erodax_format::pcluster::{Cursor, Data, Place};
use erodax_mutation::edit::Edit;
use rustix::{fs::lstat, io::Errno};

use super::{
    ground::{bytes_of, end, serve, NODE},
    images,
    Answers::*,
    Attack, Row, Stock,
};
use crate::erodax::{check_no_leak, expectation, mount_source, GOOD};

pub(super) const CVE_2026_43179: Row = (
    "CVE-2026-43179",
    &[
        Attack {
            what: "a metabox that does not decode from its first byte on",
            image: &images::METABOX,
            change: |image| break_metabox(image, |_| 0),
            answers: Refused(Errno::UCLEAN),
            stock: Stock::Alike,
        },
        LATER,
    ],
);

/// The root is there; many files are not.
const LATER: Attack = Attack {
    what: "a metabox that does not decode near its end",
    image: &images::METABOX,
    change: |image| break_metabox(image, |size| size - 1),
    answers: Mounted(&[]),
    stock: Stock::Alike,
};

/// Errors that come early leave nothing behind, however often they come.
pub(super) fn leaks_nothing() -> Result<()> {
    bytes_of(GOOD)?;
    let files = expectation(LATER.image.name)?;
    let module = serve(&LATER.bytes()?)?;
    check_no_leak(|| {
        let mount = mount_source(Path::new(NODE), "", "attack")?;
        let paths = files.iter().map(|entry| mount.path().join(entry.path()));
        let errors = paths.filter(|path| lstat(path).is_err()).count();
        ensure!(errors > 0, "all of it can be read");
        Ok(mount.unmount()?)
    })?;
    end(module)
}

/// Overwrites the stream of the pcluster that has the byte of the metabox that `place` makes of its
/// size.
fn break_metabox(image: &mut Edit, place: fn(u64) -> u64) -> Result<()> {
    let metabox = image.sb.metabox()?;
    let bytes = &image.bytes[..];
    let header = metabox.map_header(bytes, &image.sb)?;
    let at = place(metabox.size);
    let found = metabox.pcluster_at(bytes, &image.sb, &header, &mut Cursor::default(), at)?;
    let Data::Encoded(encoded) = found.data else {
        bail!("byte {at} of the metabox is {found:?}")
    };
    let Place::Device { device: 0, offset } = encoded.place else {
        bail!("the data is elsewhere: {encoded:?}")
    };
    image.put(
        usize::try_from(offset)?,
        &vec![0xff; usize::try_from(encoded.len)?],
    )
}
