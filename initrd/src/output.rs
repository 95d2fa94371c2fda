// SPDX-License-Identifier: GPL-2.0

//! An output file that appears only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};

/// Large enough that a system call's own cost does not show.
pub(crate) const BUFFER: usize = 1 << 20;

/// Where an output goes: a checked path, in whose directory temporary files are made.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    path: PathBuf,
    directory: PathBuf,
    replace: bool,
}

impl Target {
    /// Checks that `path` may be written; with `force` it may exist as a regular file.
    pub(crate) fn new(path: &Path, force: bool) -> Result<Self> {
        let path = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(Error::write(path)(error)),
            Ok(_) if !force => return Err(Error::OutputExists(path.to_owned())),
            // What a link points to is replaced, not the link.
            Ok(_) => fs::canonicalize(path).map_err(Error::write(path))?,
        };
        if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            return Err(Error::OutputNotRegular(path));
        }
        if path.file_name().is_none() {
            return Err(Error::write(&path)(io::ErrorKind::IsADirectory.into()));
        }
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        let directory = fs::canonicalize(directory).map_err(Error::write(&path))?;
        Ok(Self {
            path,
            directory,
            replace: force,
        })
    }

    /// The path as it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses when the output would be a part of the input directory `input`.
    pub(crate) fn must_be_outside(&self, input: &Path) -> Result<()> {
        let canonical = fs::canonicalize(input).map_err(Error::read(input))?;
        if self.directory.starts_with(canonical) {
            return Err(Error::OutputInsideInput {
                output: self.path.clone(),
                input: input.to_owned(),
            });
        }
        Ok(())
    }

    /// An empty file beside the output, removed when dropped.
    pub(crate) fn temporary(&self) -> Result<TempPath> {
        Ok(self.named_temporary()?.into_temp_path())
    }

    /// Starts writing.
    pub(crate) fn create(&self) -> Result<Output> {
        Ok(Output {
            file: self.named_temporary()?,
            target: self.clone(),
        })
    }

    fn named_temporary(&self) -> Result<NamedTempFile> {
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".");
        tempfile::Builder::new()
            .prefix(&prefix)
            // As any program would create it; the umask applies.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.directory)
            .map_err(|error| Error::write(&self.path)(io::Error::from(error.kind())))
    }
}

/// A file being written under a temporary name; dropping it removes it.
pub(crate) struct Output {
    file: NamedTempFile,
    target: Target,
}

impl Output {
    /// Takes the output out of its buffer.
    pub(crate) fn unbuffered(buffered: BufWriter<Self>, path: &Path) -> Result<Self> {
        buffered
            .into_inner()
            .map_err(|error| Error::write(path)(error.into_error()))
    }

    /// The file itself, to be written in any order.
    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name, once everything has reached the disk; returns its size.
    pub(crate) fn commit(self) -> Result<u64> {
        let path = &self.target.path;
        let file = self.file.as_file();
        // Some file systems only find out here that they are full.
        let size = file
            .sync_all()
            .and_then(|()| Ok(file.metadata()?.len()))
            .map_err(Error::write(path))?;
        let renamed = if self.target.replace {
            self.file.persist(path)
        } else {
            self.file.persist_noclobber(path)
        };
        match renamed {
            Ok(_) => Ok(size),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::OutputExists(path.clone()))
            }
            Err(error) => Err(Error::write(path)(error.error)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}
