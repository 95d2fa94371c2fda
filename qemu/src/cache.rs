// SPDX-License-Identifier: GPL-2.0

//! Files and directories that are made once and kept under a key of everything they are made from.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Gathers what a file is made from.
#[derive(Clone)]
pub struct Key(Sha256);

impl Key {
    /// A key for a kind of file; `kind` also tells apart versions of the way it is made.
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    /// A key for a kind of file that depends on the code of this program: it changes with every
    /// build of it.
    ///
    /// # Errors
    /// When the program has been removed.
    pub fn of_program(kind: &str) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program")?;
        Self::new(kind).file(&program)
    }

    /// Adds a setting.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds an input file by its path, size and time of modification: hashing hundreds of
    /// megabytes at every start would cost more than what is saved.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn file(self, path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).with_context(|| format!("no {}", path.display()))?;
        let stamp = (meta.len(), meta.mtime(), meta.mtime_nsec());
        Ok(self.text(&format!("{} {stamp:?}", path.display())))
    }

    fn hex(&self) -> String {
        // More would only make names longer: nobody makes collisions on purpose.
        format!("{:.16x}", self.0.clone().finalize())
    }
}

/// The file or directory `NAME-KEY` in `directory`, which `make` writes to the path it is given when it is not
/// there yet. Files that other keys left under the same name are removed.
///
/// # Errors
/// `make`'s, and those of the directory. Nothing half-written is left behind or ever seen.
pub fn cached(
    directory: &Path,
    name: &str,
    key: &Key,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = directory.join(format!("{name}-{}", key.hex()));
    // Who comes second waits and finds it, instead of replacing what the first already uses.
    let lock = lock_of(directory.join(name));
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if path.exists() {
        return Ok(path);
    }
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!(".{name}.{}.{serial}", process::id()));
    let made = make(&temporary).and_then(|()| Ok(fs::rename(&temporary, &path)?));
    if made.is_err() {
        remove(&temporary);
    }
    made.with_context(|| format!("cannot make {}", path.display()))?;
    remove_stale(directory, name, &path)?;
    Ok(path)
}

/// The lock of everything that is made under a name, in this process.
fn lock_of(name: PathBuf) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    locks.entry(name).or_default().clone()
}

fn remove_stale(directory: &Path, name: &str, current: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let same = path
            .file_name()
            .and_then(|file| file.to_str()?.rsplit_once('-'))
            .is_some_and(|(stem, _)| stem == name);
        if same && path != current {
            remove(&path);
        }
    }
    Ok(())
}

/// Removes a file or a directory. What is in the way of that is no reason to fail: another run
/// may have removed it meanwhile.
fn remove(path: &Path) {
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(directory: &Path, key: &Key, content: &str) -> PathBuf {
        cached(directory, "thing", key, |path| {
            Ok(fs::write(path, content)?)
        })
        .unwrap()
    }

    #[test]
    fn a_file_is_made_once_per_key() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::new("k").text("a");
        let path = made(directory.path(), &key, "first");
        assert_eq!(made(directory.path(), &key, "second"), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn a_new_key_replaces_the_file_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thing-else-0"), "").unwrap();
        let old = made(directory.path(), &Key::new("k").text("a"), "old");
        let new = made(directory.path(), &Key::new("k").text("b"), "new");
        assert!(!old.exists() && new.exists());
        assert!(directory.path().join("thing-else-0").exists());
    }

    #[test]
    fn threads_that_want_the_same_get_it_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let count = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let key = Key::new("k");
                    cached(directory.path(), "thing", &key, |path| {
                        count.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(fs::write(path, "once")?)
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let result = cached(directory.path(), "thing", &Key::new("k"), |path| {
            fs::write(path, "half")?;
            anyhow::bail!("disk on fire")
        });
        assert!(format!("{:#}", result.unwrap_err()).contains("disk on fire"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_touched_input_changes_the_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = Key::new("k").file(file.path()).unwrap().hex();
        fs::write(file.path(), "x").unwrap();
        assert_ne!(Key::new("k").file(file.path()).unwrap().hex(), before);
        assert!(Key::new("k").file(Path::new("/does/not/exist")).is_err());
    }
}
