// SPDX-License-Identifier: GPL-2.0

//! A large file through a mapping.

use std::hint::black_box;

use anyhow::Result;
use erodax_agent::guest::mapping::{Mapping, PAGE};
use rustix::fd::OwnedFd;

use super::large_file;
use crate::guest::{
    meter::{Job, Work},
    tree::Tree,
};

/// Reads a byte of each page in the order that is made for their number. In pages.
pub(super) fn touch(tree: &Tree, order: impl FnOnce(usize) -> Vec<usize>) -> Result<Job<'_>> {
    let (file, pages) = large_file(tree)?;
    let order = order(pages);
    Ok(Box::new(Touch {
        file,
        order,
        mapping: None,
    }))
}

struct Touch {
    file: OwnedFd,
    order: Vec<usize>,
    /// Each time a new one: mapping and unmapping are not what is measured.
    mapping: Option<Mapping>,
}

impl Work for Touch {
    fn get_ready(&mut self) -> Result<()> {
        self.mapping = None;
        self.mapping = Some(Mapping::read_only(&self.file, self.order.len() * PAGE)?);
        Ok(())
    }

    fn run(&mut self) -> Result<u64> {
        if let Some(mapping) = &self.mapping {
            for &page in &self.order {
                black_box(mapping.touch(page * PAGE));
            }
        }
        Ok(u64::try_from(self.order.len())?)
    }
}
