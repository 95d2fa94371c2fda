// SPDX-License-Identifier: GPL-2.0

//! The init of the test VMs, with every guest test in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    erodax_agent::guest::main(erodax_tests::find)
}
