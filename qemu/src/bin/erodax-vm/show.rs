// SPDX-License-Identifier: GPL-2.0

//! The report of `erodax-vm run`.

use std::collections::BTreeMap;

use erodax_initrd::ImageFacts;
use erodax_qemu::report::{differences, Device, Report};

use crate::run::MEMORY_MIB;

/// The page cache must not grow by more than this part of the payload.
const ALLOWED_GROWTH: f64 = 0.01;

/// Differences that are named one by one.
const SHOWN_DIFFERENCES: usize = 20;

/// What was made, and what came of it.
pub(crate) struct Outcome {
    pub(crate) accelerator: &'static str,
    pub(crate) image: ImageFacts,
    pub(crate) expected: BTreeMap<String, String>,
    pub(crate) in_place: Report,
    pub(crate) unpacked: Report,
}

/// Prints the report; returns whether everything was as it should be.
pub(crate) fn show(outcome: &Outcome) -> bool {
    let Outcome {
        accelerator,
        image,
        expected,
        in_place,
        unpacked,
    } = outcome;
    line(
        "machine",
        &format!("QEMU with {accelerator}, {MEMORY_MIB} MiB"),
    );
    line("kernel", &in_place.kernel);
    in_place.devices.iter().for_each(show_region);
    show_image(image);
    in_place
        .mounts
        .iter()
        .for_each(|mount| line("mount", mount));

    let mut problems = Vec::new();
    for (name, report) in [("in place", in_place), ("unpacked", unpacked)] {
        let found = differences(expected, &report.digests);
        let (read, wrong) = (report.digests.len(), found.len());
        line(
            "files",
            &format!("{name}: {read} read, {wrong} differ from the host's"),
        );
        problems.extend(
            found
                .into_iter()
                .map(|difference| format!("{name}: {difference}")),
        );
    }
    let growth = in_place.cached[1].saturating_sub(in_place.cached[0]);
    let share = growth as f64 * 1024.0 / image.size as f64;
    line(
        "page cache",
        &format!(
            "+{growth} KiB after reading all, {:.2} % of the payload",
            share * 100.0
        ),
    );
    if share >= ALLOWED_GROWTH {
        problems.push(format!(
            "the page cache holds {:.1} % of the payload",
            share * 100.0
        ));
    }
    if in_place.devices.is_empty() {
        problems.push("no erodax device: the payload was not booted in place".to_owned());
    }
    show_comparison(in_place, unpacked);
    show_problems(&problems);
    problems.is_empty()
}

fn line(name: &str, text: &str) {
    println!("{name:<12}{text}");
}

fn show_region(device: &Device) {
    let get = |name: &str| device.attributes.get(name).map_or("?", String::as_str);
    let (address, size, kind, offset) = (get("address"), get("size"), get("kind"), get("offset"));
    let name = &device.device;
    line(
        "region",
        &format!("/dev/{name}: {address},{size}, {kind}, {offset} bytes into its page"),
    );
}

fn show_image(image: &ImageFacts) {
    let facts = image.superblock.as_ref().map_or_else(
        || "no sound superblock".to_owned(),
        |superblock| {
            let (blocks, inodes) = (superblock.block_size, superblock.inodes);
            format!("blocks of {blocks} bytes, {inodes} inodes")
        },
    );
    line(
        "image",
        &format!("{}: {} bytes, {facts}", image.name, image.size),
    );
}

fn show_comparison(in_place: &Report, unpacked: &Report) {
    let row = |name: &str, left: String, right: String| println!("{name:<30}{left:>12}{right:>16}");
    let held = |report: &Report, moment: usize| {
        let total = u64::from(MEMORY_MIB) * 1024;
        format!(
            "{:.1} MiB",
            total.saturating_sub(report.free[moment]) as f64 / 1024.0
        )
    };
    println!();
    row("", "in place".to_owned(), "plain cpio".to_owned());
    let seconds = |report: &Report| format!("{:.2} s", report.uptime);
    row(
        "first program of the payload",
        seconds(in_place),
        seconds(unpacked),
    );
    row(
        "memory held at that time",
        held(in_place, 0),
        held(unpacked, 0),
    );
    row(
        "memory held after reading all",
        held(in_place, 1),
        held(unpacked, 1),
    );
    println!();
}

fn show_problems(problems: &[String]) {
    for problem in problems.iter().take(SHOWN_DIFFERENCES) {
        println!("{problem}");
    }
    if let Some(more) = problems
        .len()
        .checked_sub(SHOWN_DIFFERENCES)
        .filter(|more| *more > 0)
    {
        println!("and {more} more");
    }
    println!("{}", if problems.is_empty() { "OK" } else { "FAIL" });
}
