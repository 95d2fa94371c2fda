// SPDX-License-Identifier: GPL-2.0

//! The benchmark: what the harness and a measured machine tell each other ([`plan`], [`record`]),
//! and the guest's program ([`guest`]), which is that machine's init.

pub mod column;
pub mod guest;
pub mod order;
pub mod plan;
pub mod record;

pub use column::{Column, Phase};
pub use plan::{Driver, Plan, Source};
pub use record::Record;
