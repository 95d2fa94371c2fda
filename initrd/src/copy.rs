// SPDX-License-Identifier: GPL-2.0

//! Copying file contents piece by piece, watched and stoppable.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::newc_writer::{Member, NewcWriter};
use crate::output::BUFFER;
use crate::progress::Progress;

/// Copies into one output; knows whom to blame for an error.
pub(crate) struct Copier<'a> {
    output: &'a Path,
    progress: &'a dyn Progress,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(output: &'a Path, progress: &'a dyn Progress) -> Self {
        Self {
            output,
            progress,
            buffer: vec![0; BUFFER],
        }
    }

    /// Copies exactly `len` bytes of the file at `path`, open as `from`.
    pub(crate) fn copy(
        &mut self,
        path: &Path,
        mut from: impl Read,
        len: u64,
        to: &mut impl Write,
    ) -> Result<()> {
        let mut left = len;
        while left > 0 {
            self.check_cancelled()?;
            let wanted = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let piece = &mut self.buffer[..wanted];
            from.read_exact(piece).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::Changed(path.to_owned()),
                _ => Error::read(path)(error),
            })?;
            to.write_all(piece).map_err(Error::write(self.output))?;
            left -= self.advance(wanted);
        }
        Ok(())
    }

    /// The file that is written.
    pub(crate) fn output(&self) -> &'a Path {
        self.output
    }

    /// Writes a member with a body from memory.
    pub(crate) fn member<W: Write>(
        &self,
        writer: &mut NewcWriter<W>,
        name: &[u8],
        member: &Member,
        body: &[u8],
    ) -> Result<()> {
        let written = writer.member(name, member, body);
        written.map_err(Error::write(self.output))
    }

    /// Writes a member whose body, of `member.size` bytes, comes from the file at `path`.
    pub(crate) fn member_from<W: Write>(
        &mut self,
        writer: &mut NewcWriter<W>,
        name: &[u8],
        member: &Member,
        path: &Path,
        body: impl Read,
    ) -> Result<()> {
        let output = self.output;
        writer.begin(name, member).map_err(Error::write(output))?;
        self.copy(path, body, u64::from(member.size), writer)?;
        writer.end().map_err(Error::write(output))
    }

    pub(crate) fn check_cancelled(&self) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted(self.output.to_owned()));
        }
        Ok(())
    }

    fn advance(&self, count: usize) -> u64 {
        let count = u64::try_from(count).expect("usize is at most 64 bits wide");
        self.progress.advance(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unwatched;
    use std::cell::Cell;

    const FROM: &str = "from";

    /// Gives up once enough has been copied.
    struct Until(Cell<u64>);

    impl Progress for Until {
        fn advance(&self, bytes: u64) {
            self.0.set(self.0.get().saturating_sub(bytes));
        }

        fn is_cancelled(&self) -> bool {
            self.0.get() == 0
        }
    }

    #[test]
    fn long_files_are_copied_whole() {
        let bytes = b"0123456789".repeat(BUFFER / 4);
        let len = u64::try_from(bytes.len()).unwrap();
        let mut copy = Vec::new();
        let mut copier = Copier::new(Path::new("to"), &Unwatched);
        copier
            .copy(Path::new(FROM), &*bytes, len, &mut copy)
            .unwrap();
        assert!(copy == bytes);
        let longer = copier.copy(Path::new(FROM), &*bytes, len + 1, &mut copy);
        assert!(matches!(longer, Err(Error::Changed(path)) if path == Path::new(FROM)));
    }

    #[test]
    fn copying_can_be_stopped() {
        let until = Until(Cell::new(3));
        let mut copier = Copier::new(Path::new("to"), &until);
        let mut copy = Vec::new();
        let stopped = copier.copy(Path::new(FROM), io::repeat(1), u64::MAX, &mut copy);
        assert!(matches!(stopped, Err(Error::Interrupted(path)) if path == Path::new("to")));
        assert_eq!(copy.len(), BUFFER);
    }
}
