// SPDX-License-Identifier: GPL-2.0

//! What the payload's init (`qemu/payload/init`) writes to its serial port.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

use crate::payload::parse_manifest;

/// The machine as the payload saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Seconds from the kernel's start to the payload's first program.
    pub uptime: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The root's line of /proc/mounts, and those of EROFS mounts.
    pub mounts: Vec<String>,
    /// The erodax devices.
    pub devices: Vec<Device>,
    /// Free memory in KiB when the payload's first program ran, and after it had read every file.
    pub free: [u64; 2],
    /// The page cache in KiB before and after every file was read.
    pub cached: [u64; 2],
    /// SHA-256 of each regular file, by its path below the root.
    pub digests: BTreeMap<String, String>,
}

/// An erodax device with its sysfs attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `erodaxN`.
    pub device: String,
    /// Attributes by name.
    pub attributes: BTreeMap<String, String>,
}

/// The lines around the digests, and the last line of a report.
const MANIFEST: &str = "manifest";
const END: &str = "end";
const FINISHED: &str = "finished";

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// When it is not complete or not understood.
    pub fn parse(text: &str) -> Result<Self> {
        if !text.lines().any(|line| line == FINISHED) {
            bail!("the payload did not finish its report");
        }
        let mut report = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            match line.split_once('=') {
                _ if line == FINISHED => break,
                _ if line == MANIFEST => {
                    let manifest: Vec<&str> =
                        lines.by_ref().take_while(|line| *line != END).collect();
                    report.digests = parse_manifest(&manifest.join("\n"))?;
                }
                Some((key, value)) => {
                    report
                        .set(key, value)
                        .with_context(|| format!("line {line:?}"))?;
                }
                None => bail!("line {line:?} of the payload's report"),
            }
        }
        Ok(report)
    }

    /// How many files a report, complete or not, has digests of.
    pub fn files_so_far(text: &str) -> usize {
        let lines = text.lines().skip_while(|line| *line != MANIFEST).skip(1);
        lines.take_while(|line| *line != END).count()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "uptime" => self.uptime = value.parse()?,
            "kernel" => self.kernel = value.to_owned(),
            "mount" => self.mounts.push(value.to_owned()),
            "free_at_start" => self.free[0] = value.parse()?,
            "free_at_end" => self.free[1] = value.parse()?,
            "cached_before" => self.cached[0] = value.parse()?,
            "cached_after" => self.cached[1] = value.parse()?,
            "device" => {
                self.devices.push(Device {
                    device: value.to_owned(),
                    ..Device::default()
                });
            }
            _ => {
                let device = self
                    .devices
                    .last_mut()
                    .context("an attribute of no device")?;
                device.attributes.insert(key.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

/// What differs between a report's digests and those expected: a line for each file.
pub fn differences(
    expected: &BTreeMap<String, String>,
    seen: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (path, digest) in expected {
        match seen.get(path) {
            None => found.push(format!("{path}: missing")),
            Some(other) if other != digest => found.push(format!("{path}: another content")),
            Some(_) => {}
        }
    }
    let more = seen.keys().filter(|path| !expected.contains_key(*path));
    found.extend(more.map(|path| format!("{path}: not in the manifest")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> String {
        let digest = "a".repeat(64);
        format!(
            "uptime=2.50\r\nkernel=7.3.4\nfree_at_start=100\nmount=overlay / overlay rw 0 0\n\
             device=erodax0\naddress=0x1000\nkind=initrd\nname=root\ncached_before=5\nmanifest\n\
             {digest}  etc/a=b\n{digest}  usr/backend\nend\ncached_after=7\nfree_at_end=90\nfinished\n"
        )
    }

    #[test]
    fn a_complete_report() {
        let report = Report::parse(&report()).unwrap();
        assert_eq!((report.uptime, report.kernel.as_str()), (2.5, "7.3.4"));
        assert_eq!((report.free, report.cached), ([100, 90], [5, 7]));
        assert_eq!(report.mounts, ["overlay / overlay rw 0 0"]);
        assert_eq!(report.devices[0].device, "erodax0");
        assert_eq!(report.devices[0].attributes["name"], "root");
        assert_eq!(report.digests["etc/a=b"], "a".repeat(64));
        assert_eq!(report.digests.len(), 2);
    }

    #[test]
    fn a_report_cut_short() {
        let whole = report();
        assert!(Report::parse(&whole[..whole.len() - 10]).is_err());
        assert_eq!(Report::files_so_far(&whole[..whole.len() - 60]), 2);
        assert_eq!(Report::files_so_far("uptime=1\n"), 0);
    }

    #[test]
    fn every_difference_is_named() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let expected = map(&[("same", "1"), ("changed", "2"), ("gone", "3")]);
        let seen = map(&[("same", "1"), ("changed", "x"), ("new", "4")]);
        assert_eq!(
            differences(&expected, &seen),
            [
                "changed: another content",
                "gone: missing",
                "new: not in the manifest"
            ]
        );
        assert!(differences(&expected, &expected).is_empty());
    }
}
