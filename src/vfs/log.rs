// SPDX-License-Identifier: GPL-2.0

//! Rate limit of messages that an image can provoke.

use crate::bindings;

/// Whether there is room for another message now.
pub(crate) fn may_log() -> bool {
    // SAFETY: Callable from any context; the state is static and locked.
    unsafe { bindings::erodax_may_log() }
}
