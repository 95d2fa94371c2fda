// SPDX-License-Identifier: GPL-2.0

//! The boot harness: boots virtual machines from declared [`Scenario`]s on a distribution kernel,
//! runs guest tests in them through the agent of `erodax-agent`, and judges their consoles.

mod accelerator;
pub mod cache;
mod console;
mod console_boot;
mod environment;
mod initrd;
mod machine;
pub mod modules;
pub mod payload;
pub mod report;
mod scenario;
mod vm;
mod waker;

pub use accelerator::{Accelerator, Strings};
pub use console::Console;
pub use console_boot::ConsoleBoot;
pub use environment::Environment;
pub use erodax_agent::splat;
pub use initrd::InitrdBuilder;
pub use machine::{Machine, Port};
pub use scenario::Scenario;
pub use vm::{Verdict, Vm};
