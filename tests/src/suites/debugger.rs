// SPDX-License-Identifier: GPL-2.0

//! gdb, from an image with all that it needs, on a program from that image.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{ensure, Result};
use erodax_agent::guest::{mount::Mount, system::in_child};
use rustix::process::{chdir, chroot};

use super::{
    carve_outs::put,
    fsdax::{
        kinds::{self, Kind},
        with_source,
    },
};
use crate::{
    erodax::{load, mount, mount_source, serve_initrd, unload},
    image::{Content, Image},
    Machine, Suite, Test,
};

const DEBUGGER: Image = Image::good("debugger", Content::Debugger);

pub(super) static SUITE: Suite = Suite {
    name: "debugger",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        cmdline: &[
            "retain_initrd",
            "memmap=64M!0x20000000",
            "memmap=64M%0x28000000-1+0xefffffff",
            "memmap=64M$0x30000000",
        ],
        modules: &["nd_e820", "nd_pmem", "dax_hmem", "device_dax", "fsdev_dax"],
        images: &[DEBUGGER],
        ..Machine::RETAINING
    },
    tests: &[
        long("in_the_initrd", in_the_initrd),
        long("in_a_carve_out", in_a_carve_out),
        long("on_pmem", || on_device(Kind::E820)),
        long("on_fsdev", || on_device(Kind::Fsdev)),
    ],
};

const fn long(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test {
        limit: 300,
        ..Test::new(name, run)
    }
}

/// Where the last range of the command line begins.
const CARVE_OUT: u64 = 0x3000_0000;

fn in_the_initrd() -> Result<()> {
    let module = serve_initrd()?;
    debug(mount(DEBUGGER.name, "dax")?)?;
    unload(module)
}

fn in_a_carve_out() -> Result<()> {
    let size = put(DEBUGGER.name, CARVE_OUT)?;
    let module = load(&format!("region={CARVE_OUT:#x},{size}"))?;
    debug(mount_source(
        Path::new("/dev/erodax0"),
        "dax",
        DEBUGGER.name,
    )?)?;
    unload(module)
}

fn on_device(kind: Kind) -> Result<()> {
    with_source(kind, DEBUGGER.name, 0, |source| {
        debug(mount_source(&source.node, "dax", DEBUGGER.name)?)
    })
}

/// What gdb is told, and in this order what it must say to it.
const SESSION: &[(&str, &[&str])] = &[
    // There is no shell in the image.
    ("set startup-with-shell off", &[]),
    ("break work", &["Breakpoint 1 at"]),
    ("run", &["Breakpoint 1, work (by="]),
    // Peek: the code, in which there is a breakpoint now, and the data, a copy of which the process
    // has.
    ("compare-sections .text", &["Section .text", ": matched."]),
    (
        "compare-sections .rodata",
        &["Section .rodata", ": matched."],
    ),
    (
        "printf \"by %d, counter %d\\n\", by, counter",
        &["by 1, counter 41"],
    ),
    ("set var $before = $pc", &[]),
    ("stepi", &[]),
    (
        "printf \"%d further\\n\", $pc > $before && $pc < $before + 16",
        &["1 further"],
    ),
    ("finish", &["Value returned", "= 42"]),
    ("continue", &["exited with code 052"]),
    (
        "printf \"exit status %d\\n\", $_exitcode",
        &["exit status 42"],
    ),
    // Poke, in a new process: what the first one wrote is not there.
    ("run", &["Breakpoint 1, work (by="]),
    ("printf \"counter is %d\\n\", counter", &["counter is 41"]),
    ("set var counter = 6", &[]),
    ("delete", &[]),
    ("continue", &["exited with code 07"]),
    (
        "printf \"exit status %d\\n\", $_exitcode",
        &["exit status 7"],
    ),
];

/// Runs the session in a mount of the image, which ends then.
fn debug(mount: Mount) -> Result<()> {
    let proc = Mount::new("proc", "proc", "", mount.path().join("proc"))?;
    let dev = Mount::new("devtmpfs", "devtmpfs", "", mount.path().join("dev"))?;
    let status = in_child(|| {
        chroot(mount.path())?;
        chdir("/")?;
        let mut gdb = Command::new("/usr/bin/gdb");
        gdb.args(["--nx", "--batch"]);
        for (command, _) in SESSION {
            gdb.args(["-ex", command]);
        }
        gdb.arg("/usr/bin/traced").env("LANG", "C.UTF-8");
        let output = gdb.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        println!("{said}\n{complaints}");
        ensure!(output.status.success(), "gdb: {}", output.status);
        check(&said)
    })?;
    dev.unmount()?;
    proc.unmount()?;
    ensure!(status.success(), "gdb in {}", mount.path().display());
    Ok(mount.unmount()?)
}

/// Each answer follows the one before.
fn check(said: &str) -> Result<()> {
    let mut rest = said;
    for (command, answers) in SESSION {
        for answer in *answers {
            let found = rest.split_once(answer);
            ensure!(found.is_some(), "no {answer:?} to {command:?} in {rest:?}");
            rest = found.map_or("", |(_, rest)| rest);
        }
    }
    Ok(())
}
