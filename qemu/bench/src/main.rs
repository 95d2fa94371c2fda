// SPDX-License-Identifier: GPL-2.0

//! The init of a measured machine.

fn main() -> anyhow::Result<()> {
    erodax_bench::guest::main()
}
