// SPDX-License-Identifier: GPL-2.0

//! The files that a run needs, which the Makefile makes and names in environment variables.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{bail, Context, Result};

/// Which of the kernels is booted, and the one that checks itself.
const KERNEL: &str = "ERODAX_KERNEL";
const DEBUG: &str = "debug";

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `ERODAX_KERNEL_IMAGE`: the kernel to boot.
    pub kernel_image: PathBuf,
    /// `ERODAX_KERNEL_MODULES`: its modules, `…/lib/modules/RELEASE`.
    pub kernel_modules: PathBuf,
    /// `ERODAX_KERNEL_RELEASE`: what `uname -r` will say.
    pub kernel_release: String,
    /// Whether `ERODAX_KERNEL` is `debug`: the kernel checks itself, which takes time and memory.
    pub debug: bool,
    /// `ERODAX_KO`: erodax.ko, built for that kernel.
    pub ko: PathBuf,
    /// `ERODAX_STATIC`: the directory of the static binaries erodax-init and erodax-guest.
    pub statics: PathBuf,
    /// `ERODAX_PAYLOAD`: a directory with `tree/`, a Debian root, and its `manifest.sha256`.
    pub payload: PathBuf,
    /// `ERODAX_WORK`: logs, and what is made while running.
    pub work: PathBuf,
}

impl Environment {
    /// Emulated, the debug kernel takes up to this many times as long.
    const SLOWER: u32 = 10;

    /// Reads the environment variables and makes the work directory.
    ///
    /// # Errors
    /// When a variable is missing (all that are missing are named), or names what does not exist.
    pub fn from_env() -> Result<Self> {
        let environment = Self::from_lookup(|name| env::var(name).ok())?;
        for (name, path) in [
            ("ERODAX_KERNEL_IMAGE", &environment.kernel_image),
            ("ERODAX_KERNEL_MODULES", &environment.kernel_modules),
            ("ERODAX_KO", &environment.ko),
            ("ERODAX_STATIC", &environment.statics),
            ("ERODAX_PAYLOAD", &environment.payload),
        ] {
            fs::metadata(path)
                .with_context(|| format!("{name}={} cannot be used", path.display()))?;
        }
        for directory in [environment.logs(), environment.cache()] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(environment)
    }

    /// Whether [`Environment::debug`] will be set, before anything has to be there.
    pub fn will_debug() -> bool {
        env::var(KERNEL).is_ok_and(|value| value == DEBUG)
    }

    /// How long to wait for what an ordinary kernel does within `limit`.
    pub fn patience(&self, limit: Duration) -> Duration {
        limit * if self.debug { Self::SLOWER } else { 1 }
    }

    /// Memory for a guest whose programs and ordinary kernel need `mib`. Addresses that a scenario
    /// names stay what they are, as the rest comes behind them.
    pub fn memory_mib(&self, mib: u32) -> u32 {
        // KASAN's shadow is an eighth, and what freed memory waits in is bounded.
        mib + if self.debug { mib / 4 + 256 } else { 0 }
    }

    /// Where the console logs are kept.
    pub fn logs(&self) -> PathBuf {
        self.work.join("logs")
    }

    /// Where images and initrds are kept for the next run.
    pub fn cache(&self) -> PathBuf {
        self.work.join("made")
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut missing = Vec::new();
        let mut get = |name: &'static str| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .unwrap_or_else(|| {
                    missing.push(name);
                    String::new()
                })
        };
        let environment = Self {
            kernel_image: get("ERODAX_KERNEL_IMAGE").into(),
            kernel_modules: get("ERODAX_KERNEL_MODULES").into(),
            kernel_release: get("ERODAX_KERNEL_RELEASE"),
            debug: lookup(KERNEL).as_deref() == Some(DEBUG),
            ko: get("ERODAX_KO").into(),
            statics: get("ERODAX_STATIC").into(),
            payload: get("ERODAX_PAYLOAD").into(),
            work: get("ERODAX_WORK").into(),
        };
        if !missing.is_empty() {
            bail!(
                "not set: {}; start it with `make run`, `make shell` or `make test`, which set them \
                 (`make paths` prints where the kernel and the module are)",
                missing.join(", ")
            );
        }
        Ok(environment)
    }
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn every_missing_variable_is_named() {
        let lookup =
            |name: &str| (name != "ERODAX_KO" && name != "ERODAX_WORK").then(|| "/x".to_owned());
        let error = Environment::from_lookup(lookup).unwrap_err().to_string();
        assert!(
            error.starts_with("not set: ERODAX_KO, ERODAX_WORK;"),
            "{error}"
        );
        assert!(error.contains("make paths"), "{error}");
    }

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        let error = Environment::from_lookup(|_| Some(String::new()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("ERODAX_KERNEL_IMAGE"), "{error}");
    }
}
