// SPDX-License-Identifier: GPL-2.0

//! What a guest is to do, as words of its kernel command line: another plan needs no other
//! initrd.

use std::{ffi::CStr, fmt};

use anyhow::{bail, Context, Result};

use crate::{Column, Phase};

/// What every word starts with.
const PREFIX: &str = "bench.";

/// Where the guest finds the image as a file, when it has it as one.
pub const IMAGE_FILE: &str = "/image";
/// The large file of the tree, below its root.
pub const LARGE_FILE: &CStr = c"usr/share/erodax/large";
/// Where the guest finds the paths of the tree's regular files, NUL after each.
pub const FILES: &str = "/files";
/// Where the guest finds the paths of everything in the tree, in random order, NUL after each.
pub const NAMES: &str = "/names";

/// Which driver mounts the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// erodax.ko.
    Erodax,
    /// The kernel's own EROFS.
    Erofs,
    /// Squashfs.
    Squashfs,
    /// None: the tree is in the initramfs, or there is no tree.
    None,
}

/// Where the driver finds the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: an empty initramfs.
    Nothing,
    /// Unpacked in the initramfs.
    Unpacked,
    /// An image in the retained initrd.
    Initrd,
    /// An image at a physical address which is not the kernel's memory.
    CarveOut {
        /// In bytes.
        address: u64,
        /// In bytes.
        size: u64,
    },
    /// An image in the first pmem device.
    Pmem,
    /// An image that is copied from the initramfs to a RAM disk.
    RamDisk,
    /// An image that is a file of the initramfs.
    File,
    /// The same through a loop device.
    Loop,
}

/// A guest's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The driver.
    pub driver: Driver,
    /// Its source.
    pub source: Source,
    /// Mount options, separated by commas.
    pub options: String,
    /// What to measure.
    pub columns: Vec<Column>,
    /// Of what to take a profile.
    pub profile: Option<Phase>,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erodax => "erodax",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Unpacked => f.write_str("unpacked"),
            Self::Initrd => f.write_str("initrd"),
            Self::CarveOut { address, size } => write!(f, "{address:#x},{size:#x}"),
            Self::Pmem => f.write_str("pmem"),
            Self::RamDisk => f.write_str("ram-disk"),
            Self::File => f.write_str("file"),
            Self::Loop => f.write_str("loop"),
        }
    }
}

fn parse_driver(text: &str) -> Result<Driver> {
    Ok(match text {
        "erodax" => Driver::Erodax,
        "erofs" => Driver::Erofs,
        "squashfs" => Driver::Squashfs,
        "none" => Driver::None,
        _ => bail!("no driver {text:?}"),
    })
}

fn parse_source(text: &str) -> Result<Source> {
    Ok(match text {
        "nothing" => Source::Nothing,
        "unpacked" => Source::Unpacked,
        "initrd" => Source::Initrd,
        "pmem" => Source::Pmem,
        "ram-disk" => Source::RamDisk,
        "file" => Source::File,
        "loop" => Source::Loop,
        _ => {
            let (address, size) = text.split_once(',').context("no source")?;
            Source::CarveOut {
                address: parse_hexadecimal(address)?,
                size: parse_hexadecimal(size)?,
            }
        }
    })
}

fn parse_hexadecimal(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").context("no 0x")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

impl Plan {
    /// Its words on the kernel command line.
    pub fn words(&self) -> Vec<String> {
        let columns: Vec<_> = self.columns.iter().map(|column| column.name()).collect();
        let mut words = vec![
            format!("{PREFIX}driver={}", self.driver),
            format!("{PREFIX}source={}", self.source),
            format!("{PREFIX}options={}", self.options),
            format!("{PREFIX}columns={}", columns.join(",")),
        ];
        words.extend(self.profile.map(|phase| format!("{PREFIX}profile={phase}")));
        words
    }

    /// Finds the words in a kernel command line.
    ///
    /// # Errors
    /// When one is missing or not understood.
    pub fn parse(cmdline: &str) -> Result<Self> {
        let get = |key: &str| {
            cmdline.split_ascii_whitespace().find_map(|word| {
                word.strip_prefix(PREFIX)?
                    .strip_prefix(key)?
                    .strip_prefix('=')
            })
        };
        let need = |key| get(key).with_context(|| format!("no {PREFIX}{key}= on the command line"));
        Ok(Self {
            driver: parse_driver(need("driver")?)?,
            source: parse_source(need("source")?).context("source")?,
            options: need("options")?.to_owned(),
            columns: need("columns")?
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::parse)
                .collect::<Result<_>>()?,
            profile: get("profile").map(str::parse).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(plan: &Plan) {
        let line = format!("quiet {} panic=-1", plan.words().join(" "));
        assert_eq!(&Plan::parse(&line).unwrap(), plan, "{line}");
    }

    #[test]
    fn plans_survive_the_command_line() {
        let mut plan = Plan {
            driver: Driver::Erodax,
            source: Source::CarveOut {
                address: 0x2000_0000,
                size: 0x20_0000,
            },
            options: "dax,fsoffset=512".to_owned(),
            columns: vec![Column::Find, Column::ExecTrue],
            profile: Some(Phase::Warm),
        };
        survives(&plan);
        plan.profile = None;
        plan.options.clear();
        plan.columns.clear();
        for (driver, source) in [
            (Driver::None, Source::Nothing),
            (Driver::None, Source::Unpacked),
            (Driver::Erofs, Source::Pmem),
            (Driver::Erofs, Source::RamDisk),
            (Driver::Erofs, Source::File),
            (Driver::Erodax, Source::Initrd),
            (Driver::Squashfs, Source::Loop),
        ] {
            plan.driver = driver;
            plan.source = source;
            survives(&plan);
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let message = |line: &str| format!("{:#}", Plan::parse(line).unwrap_err());
        assert!(message("quiet").contains("bench.driver="));
        let words = "bench.driver=erofs bench.source=tape bench.options= bench.columns=";
        assert!(message(words).contains("source"));
        let words = "bench.driver=ext4 bench.source=file bench.options= bench.columns=";
        assert!(message(words).contains("ext4"));
    }
}
