// SPDX-License-Identifier: GPL-2.0

//! A VM's console, which QEMU writes to a log file.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::splat;

const POLL: Duration = Duration::from_millis(20);
/// Lines of the log that a failure shows.
const TAIL: usize = 25;

/// The log file and how far it has been judged.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    judged: usize,
}

impl Console {
    /// Of a log file of which nothing has been judged.
    pub fn new(path: PathBuf) -> Self {
        Self { path, judged: 0 }
    }

    /// The log file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything so far. Bytes that are not UTF-8 — firmware prints some — are replaced.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn text(&self) -> Result<String> {
        let bytes = fs::read(&self.path)
            .with_context(|| format!("cannot read the console log {}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// Whether `needle` shows up in time in what has not been judged yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn wait_for(&self, needle: &str, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if self.unjudged(&self.text()?).contains(needle) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
    }

    /// Judges everything up to and with the line that has `marker`, or everything there is:
    /// the first kernel complaint in what has not been judged before.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn judge(&mut self, marker: Option<&str>) -> Result<Option<String>> {
        let text = self.text()?;
        let rest = self.unjudged(&text);
        let length = marker
            .and_then(|marker| rest.find(marker).map(|at| at + marker.len()))
            .unwrap_or(rest.len());
        let section = &rest[..length];
        self.judged += length;
        Ok(splat::find(section))
    }

    /// The last lines and the log's path, for a message about a failure.
    pub fn tail(&self) -> String {
        let text = self.text().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL)..];
        format!("end of {}:\n  {}", self.path.display(), last.join("\n  "))
    }

    /// A log only grows, but the replacement of a multi-byte character that was half written can
    /// move the boundary: then nothing is left out.
    fn unjudged<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.judged..).unwrap_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_is_reported_once_and_in_its_section() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::new(file.path().to_owned());
        fs::write(
            file.path(),
            "boot\r\nbegin a\r\nfine\r\nend a\r\nBUG: late\r\n",
        )
        .unwrap();
        assert_eq!(console.judge(Some("end a")).unwrap(), None);
        assert!(console.judge(None).unwrap().unwrap().contains("BUG: late"));
        assert_eq!(console.judge(None).unwrap(), None);
    }

    #[test]
    fn waiting_ends_at_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let console = Console::new(file.path().to_owned());
        fs::write(file.path(), "here\n").unwrap();
        assert!(console.wait_for("here", Duration::ZERO).unwrap());
        assert!(!console
            .wait_for("there", Duration::from_millis(30))
            .unwrap());
    }

    #[test]
    fn the_tail_names_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        fs::write(file.path(), lines.join("\n")).unwrap();
        let tail = Console::new(file.path().to_owned()).tail();
        assert!(tail.contains(&file.path().display().to_string()));
        assert!(tail.contains("line 75") && tail.contains("line 99") && !tail.contains("line 74"));
    }
}
