// SPDX-License-Identifier: GPL-2.0

//! newc archives.

#![no_main]

use erodax_mutation::{check, mutate};

libfuzzer_sys::fuzz_target!(|archive: &[u8]| check::archive(archive));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    erodax_fuzz::mutate(data, size, max_size, seed, mutate::cpio)
});
