// SPDX-License-Identifier: GPL-2.0

//! How long work is watched and stopped.

/// Told about long work; the default does nothing.
pub trait Progress {
    /// A step begins: what it does, and how many bytes it takes if that is known.
    fn begin(&self, _what: &str, _bytes: Option<u64>) {}
    /// Another so many bytes of the step are done.
    fn advance(&self, _bytes: u64) {}
    /// The step is over.
    fn end(&self) {}
    /// Whether to give up; asked between small pieces of work.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {}
