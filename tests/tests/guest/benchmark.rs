// SPDX-License-Identifier: GPL-2.0

//! The benchmark, as its users run it: one peer and a cheap column.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::{
    plan::{Host, Job},
    results::reason,
};

const NAME: &str = "bench::one_peer";

/// Walking a tree costs at least this much for each entry, wherever it lies: a system call of two.
const LEAST: f64 = 700.0;

pub fn job() -> Job {
    Job {
        tests: vec![NAME.to_owned()],
        ignored: None,
        run: Box::new(|host, _, results| {
            results.set(NAME, one_peer(host).map_err(|error| reason(&error)));
        }),
    }
}

fn one_peer(host: &Host) -> Result<()> {
    let program = host.environment.statics.join("erodax-vm");
    let output = Command::new(&program)
        .args([
            "bench",
            "--jobs",
            "1",
            "--rows",
            "erodax",
            "--columns",
            "find,first-exec",
        ])
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {complaints}", output.status);
    ensure!(text.contains(&host.environment.kernel_release), "{text}");
    // The first program, find cold, a stroke, find warm: no title has numbers.
    let line = text
        .lines()
        .find(|line| line.starts_with("erodax, initrd "));
    let numbers: Vec<f64> = line
        .with_context(|| format!("no line of the peer:\n{text}"))?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [first, cold, warm] = numbers[..] else {
        anyhow::bail!("{numbers:?} in:\n{text}");
    };
    ensure!(first > 1.0, "the first program ran after {first} MF");
    ensure!(
        LEAST < warm && warm < cold,
        "find costs {cold} F cold and {warm} F warm"
    );
    Ok(())
}
