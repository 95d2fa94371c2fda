// SPDX-License-Identifier: GPL-2.0

//! What came out.

use std::{collections::BTreeMap, time::Duration};

use erodax_mutants::record::Counts;

/// Failures that are shown.
const SHOWN: usize = 20;

/// Of one machine, or of all.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Images that were served.
    pub(crate) images: u64,
    /// What the guests have counted.
    pub(crate) counts: Counts,
    /// What must not be, each with what to do about it.
    pub(crate) failures: Vec<String>,
    /// What is known, and what is not erodax's fault, by its kind.
    pub(crate) known: BTreeMap<String, (u64, u64)>,
}

impl Outcome {
    /// Notes something that is no failure, and the seed of an image.
    pub(crate) fn note(&mut self, kind: String, seed: u64) {
        self.known.entry(kind).or_insert((0, seed)).0 += 1;
    }

    pub(crate) fn join(mut self, other: Self) -> Self {
        self.images += other.images;
        self.add(other.counts);
        self.failures.extend(other.failures);
        for (kind, (times, seed)) in other.known {
            self.known.entry(kind).or_insert((0, seed)).0 += times;
        }
        self
    }

    /// Adds what a guest has counted.
    pub(crate) fn add(&mut self, counts: Counts) {
        self.counts.mounted += counts.mounted;
        self.counts.answers += counts.answers;
        self.counts.errors += counts.errors;
    }

    pub(crate) fn report(&self, first: u64, time: Duration) {
        for failure in self.failures.iter().take(SHOWN) {
            eprintln!("FAILED: {failure}\n");
        }
        for (kind, (times, seed)) in &self.known {
            println!("{times:8}  {kind} (first: SEED={seed})");
        }
        let Counts {
            mounted,
            answers,
            errors,
        } = self.counts;
        println!(
            "fuzz guest: {} images from SEED={first} on in {:.0} s, {:.0} a minute; {mounted} were \
             mounted, {answers} answers, {errors} of them errors; {} failures",
            self.images,
            time.as_secs_f64(),
            per_minute(self.images, time),
            self.failures.len()
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn per_minute(images: u64, time: Duration) -> f64 {
    images as f64 * 60.0 / time.as_secs_f64()
}
