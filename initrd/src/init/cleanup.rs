// SPDX-License-Identifier: GPL-2.0

//! Freeing the memory that the early root's files hold, once nobody can reach them.

use std::ffi::CString;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    fstatfs, openat2, statat, unlinkat, AtFlags, Dir, FileType, FsWord, Mode, OFlags, ResolveFlags,
};
use rustix::io::Errno;

/// The two filesystems that an initramfs is unpacked into (linux/magic.h).
const RAMFS_MAGIC: FsWord = 0x8584_58f6;
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Opens the present root if it is in memory; of anything else nothing must be removed.
pub(crate) fn open_early_root() -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let magic = fstatfs(&root)?.f_type;
    Ok([RAMFS_MAGIC, TMPFS_MAGIC].contains(&magic).then_some(root))
}

/// Removes everything below `directory` that lies on the same mount, and returns how much that
/// was. Neither mounts nor links are followed; what cannot be removed stays.
pub(crate) fn empty(directory: &OwnedFd) -> usize {
    let Ok(device) = device_of(directory) else {
        return 0;
    };
    empty_on(directory, device)
}

fn empty_on(directory: &OwnedFd, device: u64) -> usize {
    let names = list(directory).unwrap_or_default();
    let removed = names
        .iter()
        .map(|name| remove(directory, name, device).unwrap_or(0));
    removed.sum()
}

fn list(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    // The whole listing first: removing entries moves the position of the rest.
    Dir::read_from(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .filter(|name| !matches!(name.as_ref().map(|name| name.to_bytes()), Ok(b"." | b"..")))
        .collect()
}

fn remove(directory: &OwnedFd, name: &CString, device: u64) -> Result<usize, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if stat.st_dev != device {
        return Ok(0);
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        unlinkat(directory, name, AtFlags::empty())?;
        return Ok(1);
    }
    let below = open_below(directory, name)?;
    let removed = match device_of(&below)? == device {
        true => empty_on(&below, device),
        false => 0,
    };
    // Fails if something is left in it, or mounted on it.
    let itself = unlinkat(directory, name, AtFlags::REMOVEDIR);
    Ok(removed + usize::from(itself.is_ok()))
}

/// Opens a directory only if it is no link and no mount, not even of the same filesystem.
fn open_below(directory: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
    openat2(
        directory,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

fn device_of(fd: impl AsFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(fd)?.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    fn fill(directory: &Path) {
        fs::create_dir_all(directory.join("a/b")).unwrap();
        for file in ["init", "a/one", "a/b/two"] {
            fs::write(directory.join(file), file).unwrap();
        }
    }

    #[test]
    fn everything_goes_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (early, other) = (dir.path().join("early"), dir.path().join("other"));
        fill(&early);
        fill(&other);
        symlink(&other, early.join("a/link")).unwrap();
        symlink("../other", early.join("link")).unwrap();
        assert_eq!(empty(&open(&early)), 7);
        assert_eq!(fs::read_dir(&early).unwrap().count(), 0);
        assert!(other.join("a/b/two").exists());
    }

    /// Runs the next test as root of a mount namespace of its own.
    #[test]
    fn mounts_are_not_crossed() {
        let dir = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let namespaces: &[_] = match is_root {
            true => &["--mount", "--propagation=unchanged"],
            false => &["--mount", "--map-root-user"],
        };
        // In a chroot, / is no mount whose propagation could be changed.
        let script = "echo inside; mount --make-rprivate / 2>/dev/null; exec \"$0\" \"$@\"";
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "cleanup::tests::with_mounts"])
            .env("ERODAX_TEST_DIRECTORY", dir.path())
            .output()
            .expect("unshare of util-linux is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if !stdout.starts_with("inside") {
            eprintln!("no mount namespace can be made here: {stderr}");
            return;
        }
        assert!(output.status.success(), "{stdout}{stderr}");
        assert!(dir.path().join("done").exists(), "the test was not found");
    }

    #[test]
    #[ignore = "run by the test above, in a mount namespace"]
    fn with_mounts() {
        let dir = std::env::var_os("ERODAX_TEST_DIRECTORY").expect("run by the test above");
        let dir = Path::new(&dir);
        let (early, other) = (dir.join("early"), dir.join("other"));
        fill(&early);
        fill(&other);
        fs::create_dir_all(early.join("bound")).unwrap();
        fs::create_dir_all(early.join("tmpfs")).unwrap();
        let mount = |args: &[&str], at: &Path| {
            let status = Command::new("mount").args(args).arg(at).status().unwrap();
            assert!(status.success());
        };
        // A bind mount is of the same device, a tmpfs is of another.
        mount(&["--bind", other.to_str().unwrap()], &early.join("bound"));
        mount(&["-t", "tmpfs", "tmpfs"], &early.join("tmpfs"));
        fill(&early.join("tmpfs"));
        assert_eq!(empty(&open(&early)), 5);
        for mounted in ["bound", "tmpfs"] {
            assert!(early.join(mounted).join("a/b/two").exists(), "{mounted}");
        }
        assert!(other.join("a/b/two").exists());
        assert!(!early.join("init").exists());
        for mounted in ["bound", "tmpfs"] {
            let status = Command::new("umount").arg(early.join(mounted)).status();
            assert!(status.unwrap().success());
        }
        fs::write(dir.join("done"), "").unwrap();
    }
}
