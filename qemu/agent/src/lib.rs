// SPDX-License-Identifier: GPL-2.0

//! The guest agent: the line protocol that the boot harness and a test VM speak over the VM's
//! second serial port ([`protocol`]), and the guest's side of it ([`guest`]), which runs as PID 1
//! of the VM and offers the helpers that guest tests are written with.

pub mod guest;
pub mod modinfo;
pub mod protocol;
pub mod splat;
