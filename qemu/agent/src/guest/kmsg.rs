// SPDX-License-Identifier: GPL-2.0

//! The kernel log from a given moment on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{Context, Result};

/// The longest record that /dev/kmsg hands out (`PRINTK_MESSAGE_MAX`).
const RECORD_MAX: usize = 2048;

/// A position in the kernel log.
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Starts after the newest message.
    ///
    /// # Errors
    /// When /dev/kmsg cannot be opened.
    pub fn from_now() -> Result<Self> {
        let mut log = Self::from_start()?;
        log.file.seek(SeekFrom::End(0))?;
        Ok(log)
    }

    /// Starts at the oldest message that the ring buffer still holds.
    fn from_start() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("cannot open /dev/kmsg")?;
        Ok(Self { file })
    }

    /// The messages since the last call, without their prefix.
    ///
    /// # Errors
    /// When /dev/kmsg cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; RECORD_MAX];
        loop {
            match self.file.read(&mut record) {
                Ok(length) => lines.extend(message(&String::from_utf8_lossy(&record[..length]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(lines),
                // Records were overwritten before they were read; the next read goes on after them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error).context("cannot read /dev/kmsg"),
            }
        }
    }
}

/// `PRIORITY,SEQUENCE,TIME,FLAGS[,…];TEXT`, followed by lines of properties that begin with a space.
fn message(record: &str) -> Option<String> {
    let (_, text) = record.lines().next()?.split_once(';')?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn the_text_is_what_follows_the_prefix() {
        let record = "6,339,5140900,-;NET: a;b\n SUBSYSTEM=pci\n";
        assert_eq!(message(record).as_deref(), Some("NET: a;b"));
        assert_eq!(message("nothing"), None);
    }
}
