// SPDX-License-Identifier: GPL-2.0

//! The init of a machine that serves mutated images.

fn main() -> anyhow::Result<()> {
    erodax_mutants::guest::main()
}
