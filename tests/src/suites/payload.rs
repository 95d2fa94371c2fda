// SPDX-License-Identifier: GPL-2.0

//! A distribution's root filesystem, in place.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{memory::Memory, mount::Mount, system::in_child};
use rustix::process::{chdir, chroot};
use sha2::{Digest, Sha256};

use crate::{
    erodax::{check_no_leak, mount, serve_initrd, unload, Device},
    image::{Content, Image, PAYLOAD_MANIFEST},
    Machine, Suite, Test,
};

const PAYLOAD: Image = Image::good("payload", Content::Payload);

pub(super) static SUITE: Suite = Suite {
    name: "payload",
    machine: Machine {
        memory_mib: 1024,
        images: &[PAYLOAD],
        ..Machine::RETAINING
    },
    tests: &[
        Test {
            limit: 180,
            ..Test::new("every_file", every_file)
        },
        Test::new("no_file_more", no_file_more),
        Test::new("programs_run", programs_run),
        Test::new("programs_run_again_and_again", programs_run_again_and_again),
        Test {
            limit: 180,
            ..Test::new("page_cache_stays_empty", page_cache_stays_empty)
        },
    ],
};

fn with_payload(body: impl FnOnce(&Mount) -> Result<()>) -> Result<()> {
    let module = serve_initrd()?;
    let mount = mount(PAYLOAD.name, "dax")?;
    body(&mount)?;
    mount.unmount().context("umount")?;
    unload(module)
}

/// The manifest's lines: digest and path.
fn manifest() -> Result<Vec<(String, String)>> {
    let lines = BufReader::new(File::open(PAYLOAD_MANIFEST)?).lines();
    let parse = |line: String| -> Result<(String, String)> {
        let (digest, path) = line.split_once("  ").with_context(|| line.clone())?;
        Ok((digest.to_owned(), path.to_owned()))
    };
    lines.map(|line| parse(line?)).collect()
}

fn every_file() -> Result<()> {
    with_payload(|mount| {
        let manifest = manifest()?;
        ensure!(
            manifest.len() > 1000,
            "a manifest of {} lines",
            manifest.len()
        );
        let mut wrong = Vec::new();
        for (digest, path) in &manifest {
            if file_digest(&mount.path().join(path)).ok().as_ref() != Some(digest) {
                wrong.push(path);
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of {} files differ: {wrong:?}",
            wrong.len(),
            manifest.len()
        );
        Ok(())
    })
}

fn file_digest(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn no_file_more() -> Result<()> {
    fn count(directory: &Path) -> Result<usize> {
        let mut files = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            files += if kind.is_dir() {
                count(&entry.path())?
            } else {
                usize::from(kind.is_file())
            };
        }
        Ok(files)
    }
    with_payload(|mount| {
        let (found, expected) = (count(mount.path())?, manifest()?.len());
        ensure!(found == expected, "{found} files, not {expected}");
        Ok(())
    })
}

/// The payload with what its programs need: its own /dev is empty.
fn with_programs(body: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    with_payload(|mount| {
        let dev = Mount::new("devtmpfs", "devtmpfs", "", mount.path().join("dev"))?;
        body(mount.path())?;
        dev.unmount().context("umount of /dev")
    })
}

/// Runs a program of the payload in its own root. With arguments, it must print something.
fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let status = in_child(|| {
        chroot(root)?;
        chdir("/")?;
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            arguments.is_empty() || !output.stdout.is_empty(),
            "{program} prints nothing"
        );
        Ok(())
    })?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

fn programs_run() -> Result<()> {
    with_programs(|root| {
        run(root, "/bin/true", &[])?;
        run(root, "/bin/ls", &["-l", "/usr/bin"])?;
        run(
            root,
            "/usr/bin/perl",
            &["-e", "print join ',', map { $_ * $_ } 1..1000"],
        )?;
        run(
            root,
            "/bin/sh",
            &[
                "-c",
                "for file in /etc/*; do echo $file; done | sort | tail -n 1",
            ],
        )
    })
}

/// Pages that programs map and write to privately come and go.
fn programs_run_again_and_again() -> Result<()> {
    with_programs(|root| check_no_leak(|| run(root, "/usr/bin/perl", &["-e", "print 1"])))
}

/// Less than one percent of the payload, also of what programs map.
fn page_cache_stays_empty() -> Result<()> {
    with_programs(|root| {
        let payload = Device::of(PAYLOAD.name)?.size / 1024;
        let before = Memory::now()?.cached;
        for (_, path) in manifest()? {
            let path = root.join(path);
            ensure!(fs::read(&path)?.len() as u64 == fs::metadata(&path)?.size());
        }
        run(root, "/usr/bin/perl", &["-e", "print 1"])?;
        let grown = Memory::now()?.cached.saturating_sub(before);
        println!("{grown} KiB of {payload}");
        ensure!(grown * 100 < payload, "{grown} KiB of {payload}");
        Ok(())
    })
}
