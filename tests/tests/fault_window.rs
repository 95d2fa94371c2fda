// SPDX-License-Identifier: GPL-2.0

//! The choice of pages that a fault maps: pure code, so its tests run on the host.

#[path = "../../dax/window.rs"]
#[allow(dead_code, reason = "the module uses what the tests do not")]
mod window;
