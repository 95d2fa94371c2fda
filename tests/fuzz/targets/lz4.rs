// SPDX-License-Identifier: GPL-2.0

//! The LZ4 decoder, between pages that nobody may touch.

#![no_main]

use erodax_fuzz::guarded;
use erodax_mutation::{check, mutate};

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::lz4(input, guarded::decode_lz4));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match seed % 4 {
        0 => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
        _ => mutate::lz4(data, size, max_size, u64::from(seed)),
    }
});
