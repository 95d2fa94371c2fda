// SPDX-License-Identifier: GPL-2.0

//! The harness itself: it must notice whatever can go wrong with a test. No module under test.

use std::{
    fs::{self, File},
    io::Write,
    thread,
    time::Duration,
};

use anyhow::{bail, ensure, Result};
use erodax_agent::guest::{kmsg::KernelLog, mount::Mount};

use crate::{
    erodax::{check_free_memory, check_no_leak, Cycles, CYCLES},
    Expect, Machine, Suite, Test,
};

pub(super) static SUITE: Suite = Suite {
    name: "harness",
    machine: Machine {
        cmdline: &["sysctl.kernel.hung_task_timeout_secs=20"],
        erodax: false,
        ..Machine::RETAINING
    },
    tests: &[
        Test::new("passes", passes),
        expect("reports_an_error", reports_an_error, "what went wrong"),
        expect("reports_a_panic", reports_a_panic, "index out of bounds"),
        expect(
            "reports_a_fatal_signal",
            reports_a_fatal_signal,
            "died of signal 6",
        ),
        Test {
            limit: 2,
            ..expect("ends_a_hang", ends_a_hang, "killed at its time limit")
        },
        expect(
            "sees_a_kernel_warning",
            sees_a_kernel_warning,
            "the kernel complained",
        ),
        expect(
            "sees_what_is_left_mounted",
            sees_what_is_left_mounted,
            "left behind",
        ),
        Test::new("sees_no_leak_where_none_is", sees_no_leak_where_none_is),
        expect(
            "sees_a_page_lost_in_each_cycle",
            sees_a_page_lost_in_each_cycle,
            "KiB lost in",
        ),
        expect(
            "reports_a_kernel_crash",
            reports_a_kernel_crash,
            "the VM is lost",
        ),
        Test::new("goes_on_after_all_that", passes),
    ],
};

const fn expect(name: &'static str, run: fn() -> Result<()>, reason: &'static str) -> Test {
    Test {
        expect: Expect::Failure(reason),
        ..Test::new(name, run)
    }
}

fn passes() -> Result<()> {
    ensure!(fs::read_to_string("/proc/1/comm")? == "init\n");
    Ok(())
}

fn reports_an_error() -> Result<()> {
    bail!("this is what went wrong")
}

fn reports_a_panic() -> Result<()> {
    let none: Vec<u8> = Vec::new();
    ensure!(none[fs::read("/dev/null")?.len()] == 0);
    Ok(())
}

fn reports_a_fatal_signal() -> Result<()> {
    std::process::abort()
}

fn ends_a_hang() -> Result<()> {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn sees_a_kernel_warning() -> Result<()> {
    let mut log = KernelLog::from_now()?;
    fs::write("/dev/kmsg", "<4>WARNING: this is a rehearsal\n")?;
    ensure!(log
        .lines()?
        .iter()
        .any(|line| line == "WARNING: this is a rehearsal"));
    Ok(())
}

fn sees_what_is_left_mounted() -> Result<()> {
    let mount = Mount::new("tmpfs", "none", "", "/mnt/left")?;
    std::mem::forget(mount);
    Ok(())
}

fn sees_no_leak_where_none_is() -> Result<()> {
    check_no_leak(|| {
        fs::write("/tmp/page", [1; 4096])?;
        Ok(fs::remove_file("/tmp/page")?)
    })
}

fn sees_a_page_lost_in_each_cycle() -> Result<()> {
    let mut file = File::create("/tmp/pages")?;
    let leak = check_free_memory(&Cycles::of(CYCLES), || Ok(file.write_all(&[1; 4096])?));
    fs::remove_file("/tmp/pages")?;
    leak
}

fn reports_a_kernel_crash() -> Result<()> {
    Ok(fs::write("/proc/sysrq-trigger", "c")?)
}
