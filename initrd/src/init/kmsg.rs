// SPDX-License-Identifier: GPL-2.0

//! The kernel log as /dev/kmsg gives it (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

/// The longest record that the kernel hands out.
const RECORD_MAX: usize = 8192;

/// The level of errors.
const ERROR: u32 = 3;

/// What the module's messages start with.
const MODULE_PREFIX: &str = "erodax: ";

/// A place in the kernel log, to find what the module says after it.
pub(crate) struct Bookmark(Option<File>);

impl Bookmark {
    /// The present end of the log; without a log nothing will be found.
    pub(crate) fn now() -> Self {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open("/dev/kmsg");
        Self(file.ok().and_then(|mut file| {
            file.seek(SeekFrom::End(0)).ok()?;
            Some(file)
        }))
    }

    /// The module's error messages since then.
    pub(crate) fn module_errors(mut self) -> Vec<String> {
        let mut record = [0; RECORD_MAX];
        let mut messages = Vec::new();
        if let Some(file) = &mut self.0 {
            // Each read gives one record. At the end there is EAGAIN; EPIPE after records that
            // were overwritten only happens in a flood.
            while let Ok(len @ 1..) = file.read(&mut record) {
                messages.extend(module_message(&String::from_utf8_lossy(&record[..len])));
            }
        }
        messages
    }
}

/// The text of a record `PRIORITY,SEQUENCE,TIME,FLAGS[,...];TEXT\n[ KEY=VALUE\n...]` if it is
/// an error of the module.
fn module_message(record: &str) -> Option<String> {
    let (header, rest) = record.split_once(';')?;
    let priority: u32 = header.split(',').next()?.parse().ok()?;
    // Above the three bits of the level is the facility, 0 for the kernel. Only errors, since
    // the kernel prefixes its own warnings about a module with the module's name.
    let text = rest.lines().next()?;
    (priority <= ERROR && text.starts_with(MODULE_PREFIX)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::module_message;

    #[test]
    fn only_the_modules_own_errors_count() {
        let message = |record| module_message(record);
        assert_eq!(
            message("3,512,1234567,-;erodax: no initrd was retained\n SUBSYSTEM=x\n").as_deref(),
            Some("erodax: no initrd was retained")
        );
        assert_eq!(
            message("2,512,1234567,-,caller=T1;erodax: a; b\n").as_deref(),
            Some("erodax: a; b")
        );
        assert_eq!(
            message("4,512,1234567,-;erodax: loading out-of-tree module\n"),
            None
        );
        // 11 is LOG_USER with level 3: some program's.
        assert_eq!(message("11,512,1234567,-;erodax: not the kernel\n"), None);
        assert_eq!(message("3,512,1234567,-;erofs: other\n"), None);
        assert_eq!(message("erodax: no header"), None);
    }
}
