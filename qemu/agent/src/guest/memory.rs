// SPDX-License-Identifier: GPL-2.0

//! How much memory is free, and how much the page cache holds.

use std::fs;

use anyhow::{Context, Result};

const PAGE_KIB: u64 = 4;

/// Figures of one moment, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Free pages, those on the per-CPU lists included: `MemFree` alone misses them, and they
    /// come and go by megabytes.
    pub free: u64,
    /// The page cache, tmpfs included (`Cached`).
    pub cached: u64,
}

impl Memory {
    /// Takes the figures.
    ///
    /// # Errors
    /// When procfs lacks one of them.
    pub fn now() -> Result<Self> {
        // Each CPU keeps up to some hundred KiB of changes to itself.
        read("/proc/sys/vm/stat_refresh")?;
        let meminfo = read("/proc/meminfo")?;
        let zoneinfo = read("/proc/zoneinfo")?;
        Ok(Self {
            free: meminfo_field(&meminfo, "MemFree")? + PAGE_KIB * per_cpu_pages(&zoneinfo),
            cached: meminfo_field(&meminfo, "Cached")?,
        })
    }

    /// The figures after everything that is clean and unused was dropped: dentries, inodes and
    /// page cache.
    ///
    /// # Errors
    /// As [`Memory::now`].
    pub fn settled() -> Result<Self> {
        rustix::fs::sync();
        fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop caches")?;
        Self::now()
    }
}

/// Drops what is clean in the page cache.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_page_cache() -> Result<()> {
    drop_silently(&["1"])
}

/// Drops what is clean in the page cache, and dentries and inodes that are not in use.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_caches() -> Result<()> {
    // What was used lately is spared once, and what it is in then once more.
    drop_silently(&["3"; 3])
}

fn drop_silently(what: &[&str]) -> Result<()> {
    // Without a line in the kernel log, from now on.
    for value in ["4"].iter().chain(what) {
        fs::write("/proc/sys/vm/drop_caches", value).context("drop_caches")?;
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn meminfo_field(meminfo: &str, name: &str) -> Result<u64> {
    meminfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().strip_suffix(" kB")?.parse().ok())
        .with_context(|| format!("no {name} in /proc/meminfo"))
}

/// The per-CPU page sets are the only `count:` lines of /proc/zoneinfo.
fn per_cpu_pages(zoneinfo: &str) -> u64 {
    zoneinfo
        .lines()
        .filter_map(|line| line.trim().strip_prefix("count:"))
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_is_not_swap_cached() {
        let meminfo = "MemFree:          1012 kB\nSwapCached:   7 kB\nCached:  1234 kB\n";
        assert_eq!(meminfo_field(meminfo, "Cached").unwrap(), 1234);
        assert!(meminfo_field(meminfo, "Buffers").is_err());
    }

    #[test]
    fn every_cpu_of_every_zone_counts() {
        let zoneinfo = "Node 0, zone DMA\n  pagesets\n    cpu: 0\n              count:    3\n              high:     14\n    cpu: 1\n              count:    4\n";
        assert_eq!(per_cpu_pages(zoneinfo), 7);
    }
}
