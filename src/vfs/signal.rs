// SPDX-License-Identifier: GPL-2.0

//! Signals to whoever has called.

use crate::bindings;

/// Whether the calling process has been killed, so that nobody waits for what it asked for.
pub(crate) fn is_killed() -> bool {
    // SAFETY: May be called from any context of a process.
    unsafe { bindings::erodax_is_killed() }
}
