// SPDX-License-Identifier: GPL-2.0

//! Full indexes: a `struct z_erofs_lcluster_index` for each lcluster.

use super::header::MapHeader;
use super::lcluster::{Head, HeadType, Lcluster, NonHead, CBLKCNT};
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// `di_advise`: the type.
const ADVISE_TYPE: u16 = 3;
/// `di_advise` of a head: others use the pcluster too, and it may decode to more than is used here.
const ADVISE_PARTIAL_REF: u16 = 1 << 15;
/// `di_advise` of a head: there is no data.
const ADVISE_HOLE: u16 = 1 << 14;

/// `struct z_erofs_lcluster_index`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawLcluster {
    di_advise: le::U16,
    di_clusterofs: le::U16,
    /// `blkaddr` of a head, `delta` of others.
    di_u: [le::U16; 2],
}

const RAW_SIZE: u64 = 8;
const _: () = assert!(size_of::<RawLcluster>() == 8);

/// Where in the metadata the element of lcluster `lcn` starts.
fn offset(header: &MapHeader, lcn: u64) -> Result<u64> {
    lcn.checked_mul(RAW_SIZE)
        .and_then(|offset| offset.checked_add(header.start))
        .ok_or(Error::OutOfBounds)
}

/// Where the element of lcluster `lcn` ends.
pub(super) fn behind(header: &MapHeader, lcn: u64) -> Result<u64> {
    offset(header, lcn)?
        .checked_add(RAW_SIZE)
        .ok_or(Error::OutOfBounds)
}

/// Reads lcluster `lcn`, as Linux's `z_erofs_load_full_lcluster()`.
pub(super) fn load<M: Image + ?Sized>(
    metadata: &M,
    header: &MapHeader,
    lcn: u64,
) -> Result<Lcluster> {
    let raw: RawLcluster = metadata.read(offset(header, lcn)?)?;
    let advise = raw.di_advise.get();
    let [low, high] = raw.di_u.map(le::U16::get);
    let Some(head_type) = HeadType::from_format(advise & ADVISE_TYPE) else {
        return non_head(header, low, high);
    };
    let block = (u32::from(high) << 16) | u32::from(low);
    Ok(Lcluster::Head(Head {
        head_type,
        cluster_offset: u32::from(raw.di_clusterofs),
        block: u64::from(block),
        block_field: block,
        is_partial: advise & ADVISE_PARTIAL_REF != 0,
        is_hole: advise & ADVISE_HOLE != 0,
    }))
}

fn non_head(header: &MapHeader, low: u16, high: u16) -> Result<Lcluster> {
    let mut non_head = NonHead {
        lookback: u32::from(low),
        lookahead: u32::from(high),
        blocks: None,
    };
    if low & CBLKCNT != 0 {
        if !header.has_big_head1() && !header.has_big_others() {
            return Err(Error::Corrupt("size of a pcluster where none is big"));
        }
        non_head.lookback = 1;
        non_head.blocks = Some(u32::from(low & !CBLKCNT));
    }
    Ok(Lcluster::NonHead(non_head))
}
