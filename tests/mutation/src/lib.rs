// SPDX-License-Identifier: GPL-2.0

//! Damaged images, and what must hold for them nevertheless.
//!
//! A mutation patches fields of a real image by their names and makes the superblock's checksum
//! right again, so that the damage gets as far as the decoder that it is meant for. The checks use
//! one decoder of `erodax-format` each, in every way that a caller could, and compare its answers
//! with each other. They panic if a decoder does, or contradicts itself; an error is a good answer.
//!
//! The fuzz targets in `tests/fuzz` put the two together.
//!
//! | module | subject |
//! |---|---|
//! | [`field`] | the fields of the format's structures by name |
//! | [`places`] | where in an image the structures are |
//! | [`mutate`] | changing fields at random |
//! | `edit` | changing fields of single files on purpose; feature `edit` |
//! | [`seal`] | the superblock's checksum |
//! | [`question`] | what a check asks of an image |
//! | [`lz4`] | sequences of LZ4 blocks |
//! | [`check`] | a check for each decoder |

pub mod check;
#[cfg(feature = "edit")]
pub mod edit;
pub mod field;
pub mod lz4;
pub mod mutate;
pub mod places;
pub mod question;
pub mod seal;
mod views;
