// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets have in common.

pub mod guarded;

use libfuzzer_sys::fuzzer_mutate;

/// A target that checks EROFS images with `$check`, and a mutator for the structures `$focus`.
#[macro_export]
macro_rules! image_target {
    ($check:path, $focus:expr) => {
        libfuzzer_sys::fuzz_target!(|image: &[u8]| $check(image));

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate(data, size, max_size, seed, |image, seed| {
                erodax_mutation::mutate::image(image, $focus, seed)
            })
        });
    };
}

/// Changes the first `size` bytes of `data` and returns how many there are then: by `structures`,
/// which knows where the fields are, and now and then by libFuzzer, which changes any bytes and the
/// length.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    structures: impl Fn(&mut [u8], u64),
) -> usize {
    let mut size = size;
    if seed % 8 == 0 {
        size = fuzzer_mutate(data, size, max_size);
    }
    // Also behind the other mutations, so that the checksum is right.
    structures(&mut data[..size], u64::from(seed));
    size
}
