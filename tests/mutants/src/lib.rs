// SPDX-License-Identifier: GPL-2.0

//! Mutated images in a virtual machine: each is made from its own seed, mounted, walked and
//! unmounted, and the kernel must not complain.
//!
//! | module | subject |
//! |---|---|
//! | [`plan`] | what a machine is to do |
//! | [`record`] | what it says |
//! | [`images`] | the images, on both sides |
//! | [`guest`] | the machine's init |
//! | [`transcript`] | what a walk has seen |
//! | [`difference`] | what two drivers may answer differently |

pub mod difference;
pub mod guest;
pub mod images;
pub mod plan;
pub mod record;
pub mod transcript;

pub use images::Seeds;
pub use plan::{Mode, Plan};
pub use record::{Phase, Record};
