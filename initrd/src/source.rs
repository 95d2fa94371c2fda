// SPDX-License-Identifier: GPL-2.0

//! The images to be packed: ready-made files, and directories to make images from.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use erodax_format::superblock::{has_magic, SuperBlock};
use tempfile::TempPath;

use crate::align::{align_source, AlignFiles, AlignReport, Missing};
use crate::error::{Error, Result};
use crate::file_image::FileImage;
use crate::layout::{is_valid_name, MAX_BODY, PAGE};
use crate::output::Target;
use crate::progress::Progress;

/// Where an image comes from, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageArg {
    /// Its name; without one the path's last part is taken, without its extension.
    pub name: Option<String>,
    /// An EROFS image or a directory.
    pub path: PathBuf,
}

/// Reads `[NAME=]PATH`. A `=` after a `/` belongs to the path.
impl From<OsString> for ImageArg {
    fn from(arg: OsString) -> Self {
        let bytes = arg.as_bytes();
        match bytes.iter().position(|&b| b == b'=') {
            Some(at) if !bytes[..at].contains(&b'/') => Self {
                name: Some(String::from_utf8_lossy(&bytes[..at]).into_owned()),
                path: PathBuf::from(OsString::from_vec(bytes[at + 1..].to_vec())),
            },
            _ => Self {
                name: None,
                path: PathBuf::from(arg),
            },
        }
    }
}

impl ImageArg {
    fn resolve_name(&self) -> Result<String> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.name_of_path()?,
        };
        if is_valid_name(&name) {
            return Ok(name);
        }
        Err(Error::ImageName {
            name,
            path: self.path.clone(),
        })
    }

    fn name_of_path(&self) -> Result<String> {
        // "." and ".." have names, too, and a directory's name has no extension.
        let path = fs::canonicalize(&self.path).map_err(Error::read(&self.path))?;
        let name = if path.is_dir() {
            path.file_name()
        } else {
            self.path.file_stem()
        };
        Ok(name.unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// Gives every image its name and refuses two of one name.
pub(crate) fn resolve_names(images: &[ImageArg]) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    images
        .iter()
        .map(|image| {
            let name = image.resolve_name()?;
            if !seen.insert(name.clone()) {
                return Err(Error::DuplicateName(name));
            }
            Ok(name)
        })
        .collect()
}

/// A checked EROFS image, ready to be copied.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Length of the file in bytes.
    pub(crate) len: u64,
    /// The file system uses something that the module cannot mount; as the format says it.
    pub(crate) unsupported: Option<erodax_format::Error>,
    /// Removes an image made from a directory.
    _temporary: Option<TempPath>,
}

impl Source {
    /// Opens a ready-made image that is to be packed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let source = Self::open_any_size(path)?;
        source.check_size()?;
        Ok(source)
    }

    /// Opens a ready-made image.
    pub(crate) fn open_any_size(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::read(path))?;
        let image = FileImage::new(file).map_err(Error::read(path))?;
        let superblock = SuperBlock::read(&image);
        let has_magic = has_magic(&image);
        let (file, len) = image.into_parts().map_err(Error::read(path))?;
        if !has_magic {
            return Err(Error::NotErofs(path.to_owned()));
        }
        let unsupported = match superblock {
            Ok(_) => None,
            Err(reason @ erodax_format::Error::Unsupported(_)) => Some(reason),
            Err(reason) => {
                return Err(Error::DamagedImage {
                    path: path.to_owned(),
                    reason,
                })
            }
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            unsupported,
            _temporary: None,
        })
    }

    /// Fails if it cannot be a member of an initrd.
    fn check_size(&self) -> Result<()> {
        if self.len > MAX_BODY {
            return Err(Error::ImageTooLarge {
                path: self.path.clone(),
                size: self.len,
            });
        }
        Ok(())
    }

    /// The image's bytes.
    pub(crate) fn image(&self) -> Result<FileImage> {
        let file = self.file.try_clone();
        file.and_then(FileImage::new)
            .map_err(Error::read(&self.path))
    }

    /// A copy of it takes its place; how that came about is the copy's report.
    pub(crate) fn aligned(
        self,
        wanted: &AlignFiles,
        missing: &mut Missing<'_>,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<(Self, AlignReport)> {
        let (copy, report) = align_source(&self, wanted, missing, target, progress)?;
        let Some(copy) = copy else {
            return Ok((self, report));
        };
        let source = Self {
            path: self.path,
            _temporary: None,
            ..Self::open_any_size(&copy)?
        };
        source.check_size()?;
        Ok((
            Self {
                _temporary: Some(copy),
                ..source
            },
            report,
        ))
    }

    /// Length of the member's body: the image in whole pages.
    pub(crate) fn body_len(&self) -> u64 {
        self.len.next_multiple_of(PAGE)
    }
}

/// Makes images from directories with mkfs.erofs, beside the output.
pub(crate) struct Mkfs<'a> {
    pub(crate) target: &'a Target,
    pub(crate) extra_args: &'a [OsString],
    /// The build time, in seconds since 1970.
    pub(crate) build_time: u32,
    pub(crate) progress: &'a dyn Progress,
}

impl Mkfs<'_> {
    /// Makes an image of the directory `path`.
    pub(crate) fn make(&self, path: &Path) -> Result<Source> {
        let temporary = self.target.temporary()?;
        let child = self.command(path, &temporary).spawn();
        let child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::MkfsMissing(path.to_owned()),
            _ => Error::read(Path::new("mkfs.erofs"))(error),
        })?;
        self.progress
            .begin(&format!("making an image of {}", path.display()), None);
        let ended = self.wait(child);
        self.progress.end();
        let (status, output) = ended?;
        if !status.success() {
            return Err(Error::MkfsFailed {
                path: path.to_owned(),
                status: status.to_string(),
                output,
            });
        }
        let mut source = Source::open(&temporary).map_err(|error| match error {
            Error::ImageTooLarge { size, .. } => Error::ImageTooLarge {
                path: path.to_owned(),
                size,
            },
            other => other,
        })?;
        source._temporary = Some(temporary);
        Ok(source)
    }

    /// Nothing of the moment gets into the image: neither the time nor a random UUID.
    /// The files keep their own times.
    fn command(&self, path: &Path, image: &Path) -> Command {
        let mut command = Command::new("mkfs.erofs");
        command
            .args(["--quiet", "-U", "00000000-0000-0000-0000-000000000000"])
            .arg(format!("-T{}", self.build_time))
            .arg("--mkfs-time")
            .args(self.extra_args)
            .arg("--")
            .args([image, path])
            // It would replace the times of all files as well.
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn wait(&self, mut child: Child) -> Result<(ExitStatus, String)> {
        let path = Path::new("mkfs.erofs");
        let stderr = child.stderr.take();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stderr) = stderr {
                // What cannot be read only shortens a message.
                let _ = stderr.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        let status = loop {
            if let Some(status) = child.try_wait().map_err(Error::read(path))? {
                break status;
            }
            if self.progress.is_cancelled() {
                let _ = child.kill();
                child.wait().map_err(Error::read(path))?;
                return Err(Error::Interrupted(self.target.path().to_owned()));
            }
            thread::sleep(Duration::from_millis(10));
        };
        Ok((status, reader.join().unwrap_or_default()))
    }
}

/// Whether an image must first be made from what is at `path`.
pub(crate) fn is_directory(path: &Path) -> Result<bool> {
    let meta = fs::metadata(path).map_err(Error::read(path))?;
    if meta.is_dir() || meta.is_file() {
        Ok(meta.is_dir())
    } else {
        Err(Error::NeitherFileNorDirectory(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(text: &str) -> ImageArg {
        ImageArg::from(OsString::from(text))
    }

    #[test]
    fn a_name_ends_at_the_first_equals_sign_before_any_slash() {
        for (text, name, path) in [
            ("root.erofs", None, "root.erofs"),
            ("usr=root.erofs", Some("usr"), "root.erofs"),
            ("usr=/a=b/c", Some("usr"), "/a=b/c"),
            ("./a=b", None, "./a=b"),
            ("/x/a=b", None, "/x/a=b"),
            ("=x", Some(""), "x"),
        ] {
            let arg = arg(text);
            assert_eq!(arg.name.as_deref(), name, "{text}");
            assert_eq!(arg.path, Path::new(path), "{text}");
        }
    }

    #[test]
    fn names_come_from_paths() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree-1.0");
        fs::create_dir(&tree).unwrap();
        let image = dir.path().join("data.v2.erofs");
        File::create(&image).unwrap();
        let name = |path: PathBuf| ImageArg { name: None, path }.resolve_name().unwrap();
        assert_eq!(name(tree.clone()), "tree-1.0");
        assert_eq!(name(tree.join(".")), "tree-1.0");
        assert_eq!(name(tree.join("../tree-1.0/")), "tree-1.0");
        assert_eq!(name(image), "data.v2");
    }

    #[test]
    fn two_images_need_two_names() {
        let names = |a, b| resolve_names(&[arg(a), arg(b)]);
        assert_eq!(names("a=x", "b=x").unwrap(), ["a", "b"]);
        assert!(matches!(names("a=x", "a=y"), Err(Error::DuplicateName(name)) if name == "a"));
        assert!(matches!(
            names("a=x", "b c=y"),
            Err(Error::ImageName { .. })
        ));
    }

    #[test]
    fn the_largest_image_is_just_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, image) = (dir.path().join("tree"), dir.path().join("image"));
        fs::create_dir(&tree).unwrap();
        let made = Command::new("mkfs.erofs")
            .arg("--quiet")
            .args([&image, &tree])
            .status();
        assert!(made.unwrap().success());
        let resize = |len| {
            let file = File::options().write(true).open(&image).unwrap();
            file.set_len(len).unwrap();
            Source::open(&image)
        };
        let largest = resize(MAX_BODY).unwrap();
        assert_eq!(largest.body_len(), MAX_BODY);
        let Err(Error::ImageTooLarge { size, .. }) = resize(MAX_BODY + 1) else {
            panic!("an image over the limit is accepted");
        };
        assert_eq!(size, MAX_BODY + 1);
    }
}
