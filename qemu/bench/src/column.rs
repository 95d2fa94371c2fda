// SPDX-License-Identifier: GPL-2.0

//! What is measured.

use std::{fmt, str::FromStr};

use anyhow::{bail, Error};
use serde::{Deserialize, Serialize};

/// One measurement, of a peer whose cost it is in F (see the README of the benchmark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// From the machine's start to the end of the payload's first program.
    FirstExec,
    /// Every regular file of the tree, read with read(2).
    Read,
    /// One byte of each page of a large file through a mapping, in order.
    MmapSeq,
    /// The same in random order.
    MmapRandom,
    /// Random pages of the large file with pread(2).
    Pread,
    /// The whole tree, read with getdents64(2) and newfstatat(2) for each entry.
    Find,
    /// Every name of the tree in random order, by its whole path, with newfstatat(2).
    Lookup,
    /// `true`, from its start to its end.
    ExecTrue,
    /// `perl -e 0`, from its start to its end.
    ExecPerl,
    /// Memory in use after every file was read.
    Memory,
}

impl Column {
    /// Every column, in the order in which they are measured: what spoils the others comes last.
    pub const ALL: [Self; 10] = [
        Self::FirstExec,
        Self::Read,
        Self::Memory,
        Self::MmapSeq,
        Self::MmapRandom,
        Self::Pread,
        Self::Find,
        Self::Lookup,
        Self::ExecTrue,
        Self::ExecPerl,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstExec => "first-exec",
            Self::Read => "read",
            Self::MmapSeq => "mmap-seq",
            Self::MmapRandom => "mmap-random",
            Self::Pread => "pread",
            Self::Find => "find",
            Self::Lookup => "lookup",
            Self::ExecTrue => "exec-true",
            Self::ExecPerl => "exec-perl",
            Self::Memory => "memory",
        }
    }

    /// How often it is measured, each time on a fresh mount. Programs start with addresses of
    /// their own each time, which changes what they cost by a percent or so.
    pub fn rounds(self) -> u32 {
        match self {
            Self::ExecTrue | Self::ExecPerl => 20,
            _ => 1,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Column {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|column| column.name() == name) {
            Some(column) => Ok(column),
            None => {
                let known = Self::ALL.map(Self::name).join(", ");
                bail!("no column is called {name:?}; there are {known}")
            }
        }
    }
}

/// Whether something is done for the first time after mounting, or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The first time.
    Cold,
    /// Again.
    Warm,
}

impl Phase {
    /// Both, in their order.
    pub const ALL: [Self; 2] = [Self::Cold, Self::Warm];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Phase {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|phase| phase.name() == name) {
            Some(phase) => Ok(phase),
            None => bail!("{name:?} is neither `cold` nor `warm`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_columns() {
        for column in Column::ALL {
            assert_eq!(column.name().parse::<Column>().unwrap(), column);
            let json = serde_json::to_string(&column).unwrap();
            assert_eq!(json, format!("{:?}", column.name()));
        }
        let error = "fnd".parse::<Column>().unwrap_err().to_string();
        assert!(error.contains("find"), "{error}");
        assert!("hot".parse::<Phase>().is_err());
    }
}
