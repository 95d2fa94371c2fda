// SPDX-License-Identifier: GPL-2.0

//! KUnit suites, which run inside the kernel when the module is loaded.
//!
//! What needs no kernel has its tests beside it and runs them on the host; here is what has to be
//! seen with the kernel's compiler flags, its memory and its VFS.

mod decoders;
mod lz4;
mod mount;

/// The image of the mail that asked for mounts from memory: `fox` is 250 times a sentence.
///
/// Made by mkfs.erofs 1.8.6: `mkfs.erofs -zlz4hc -T1700000000 --all-root
/// -U c1b9d5a2-f194-4a1d-9c3b-2f3a4b5c6d7e fox.erofs DIRECTORY`.
const FOX: &[u8; 8192] = include_bytes!("fox.erofs");

/// What `fox` is so many times.
const SENTENCE: &[u8] = b"The quick brown fox. ";
const SENTENCES: usize = 250;

/// Whether `bytes` are what `fox` has from byte `start` on.
fn is_fox(start: usize, bytes: &[u8]) -> bool {
    let expected = SENTENCE.iter().cycle().skip(start % SENTENCE.len());
    bytes.iter().eq(expected.take(bytes.len()))
}
