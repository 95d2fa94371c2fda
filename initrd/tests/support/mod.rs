// SPDX-License-Identifier: GPL-2.0

//! What the tests of the programs share: directories to work in, images to pack, and GNU cpio
//! as an independent reader.

#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The tool under test.
pub fn erodax() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_erodax"));
    command.env_remove("SOURCE_DATE_EPOCH");
    command
}

/// A directory with inputs in `in/` and room for outputs in `out/`.
pub struct Workshop {
    dir: TempDir,
}

impl Workshop {
    /// Makes `in/early` and `in/tree`; the latter is worth a few blocks.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let early = dir.path().join("in/early");
        fs::create_dir_all(early.join("lib/erodax")).unwrap();
        fs::write(early.join("init"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(early.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(early.join("lib/erodax/erodax.ko"), b"module".repeat(2000)).unwrap();
        symlink("lib", early.join("lib64")).unwrap();

        let tree = dir.path().join("in/tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/hostname"), "payload\n").unwrap();
        fs::write(
            tree.join("data"),
            (0..=255).cycle().take(50_001).collect::<Vec<u8>>(),
        )
        .unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn early(&self) -> PathBuf {
        self.path("in/early")
    }

    pub fn tree(&self) -> PathBuf {
        self.path("in/tree")
    }

    pub fn output(&self) -> PathBuf {
        self.path("out/initrd")
    }

    /// An EROFS image of the tree, made by mkfs.erofs.
    pub fn image(&self, name: &str, options: &[&str]) -> PathBuf {
        let path = self.path("in").join(name);
        let mut command = Command::new("mkfs.erofs");
        command
            .args(["--quiet", "-T0"])
            .args(options)
            .arg(&path)
            .arg(self.tree());
        succeed(&mut command);
        path
    }

    /// A newc archive with one file, as microcode packages ship them.
    pub fn microcode(&self) -> PathBuf {
        let dir = self.path("in/ucode/kernel/x86/microcode");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("GenuineIntel.bin"), b"microcode".repeat(123)).unwrap();
        self.cpio("in/ucode", "in/ucode.cpio")
    }

    /// GNU cpio's newc archive of everything below `dir`.
    pub fn cpio(&self, dir: &str, archive: &str) -> PathBuf {
        let path = self.path(archive);
        let script = "find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc";
        let output = succeed(
            Command::new("sh")
                .args(["-c", script])
                .current_dir(self.path(dir)),
        );
        fs::write(&path, output.stdout).unwrap();
        path
    }

    /// `erodax pack` of the early directory, with more arguments.
    pub fn pack<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = erodax();
        command.arg("pack").arg("--early").arg(self.early());
        command.arg("-o").arg(self.output()).args(args);
        command
    }

    /// The names in `out/`.
    pub fn outputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Runs a command that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        stderr(&output)
    );
    output
}

/// Runs a command that must fail with status 1, and returns what it says.
#[track_caller]
pub fn fail(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(
        output.status.code(),
        Some(1),
        "{command:?}: {}",
        stderr(&output)
    );
    stderr(&output)
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Feeds `input` to a program and returns its output.
#[track_caller]
pub fn filter(program: &str, args: &[&str], dir: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end before it has read everything, as cpio does after a trailer.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{program}: {}", stderr(&output));
    output.stdout
}

/// What GNU cpio lists of the first archive of `bytes`.
#[track_caller]
pub fn cpio_list(bytes: &[u8], args: &[&str]) -> Vec<String> {
    let args = [&["--quiet", "-t"], args].concat();
    let listing = filter("cpio", &args, Path::new("/"), bytes);
    String::from_utf8(listing)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Lets GNU cpio extract the first archive of `bytes`.
#[track_caller]
pub fn cpio_extract(bytes: &[u8], dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let args = ["--quiet", "-idm", "--no-absolute-filenames"];
    filter("cpio", &args, dir, bytes);
}

/// The part of an initrd from `offset` on, decompressed by the program `decompressor`.
#[track_caller]
pub fn decompressed(initrd: &[u8], offset: usize, decompressor: &str) -> Vec<u8> {
    filter(decompressor, &["-dc"], Path::new("/"), &initrd[offset..])
}

/// `erodax inspect --json` of a sound file.
#[track_caller]
pub fn inspect(path: &Path) -> serde_json::Value {
    let output = succeed(erodax().args(["inspect", "--json"]).arg(path));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A number of a JSON document, as an index.
#[track_caller]
pub fn index(value: &serde_json::Value) -> usize {
    let number = value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"));
    usize::try_from(number).unwrap()
}
