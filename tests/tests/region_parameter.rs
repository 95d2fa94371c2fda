// SPDX-License-Identifier: GPL-2.0

//! The module's `region=` parameter: its parser is pure code, so its tests run on the host.

#[path = "../../dax/param.rs"]
#[allow(dead_code, reason = "the module uses what the tests do not")]
mod param;
