// SPDX-License-Identifier: GPL-2.0

//! Bounded reads of a file, for the decoders.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use erodax_format::Image;

/// A file whose length is taken once. The decoders know no I/O errors: one is kept
/// aside and given back by [`Self::into_parts`] or [`Self::check_io`].
pub(crate) struct FileImage {
    file: File,
    len: u64,
    failure: Cell<Option<io::Error>>,
}

impl FileImage {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            len: file.metadata()?.len(),
            file,
            failure: Cell::new(None),
        })
    }

    /// The first I/O error, if there was any: then nothing that was decoded counts.
    pub(crate) fn check_io(&self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The file and its length, unless there was an I/O error.
    pub(crate) fn into_parts(self) -> io::Result<(File, u64)> {
        self.check_io()?;
        Ok((self.file, self.len))
    }
}

impl Image for FileImage {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> erodax_format::Result<()> {
        let bytes = u64::try_from(buf.len()).map_err(|_| erodax_format::Error::OutOfBounds)?;
        self.check(offset, bytes)?;
        self.file.read_exact_at(buf, offset).map_err(|error| {
            let first = self.failure.take().unwrap_or(error);
            self.failure.set(Some(first));
            erodax_format::Error::OutOfBounds
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_stay_inside() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let image = FileImage::new(file).unwrap();
        let mut buf = [0; 4];
        image.read_at(6, &mut buf).unwrap();
        assert_eq!(&buf, b"6789");
        assert!(image.read_at(7, &mut buf).is_err());
        assert!(image.read_at(u64::MAX, &mut buf).is_err());
        assert_eq!(image.into_parts().unwrap().1, 10);
    }

    #[test]
    fn io_errors_come_out() {
        let image = FileImage::new(tempfile::tempfile().unwrap()).unwrap();
        let image = FileImage { len: 100, ..image };
        assert!(image.read_at(0, &mut [0; 4]).is_err());
        assert!(image.into_parts().is_err());
    }
}
