// SPDX-License-Identifier: GPL-2.0

//! Messages for the kernel log and the console.

use std::fmt::{Arguments, Display};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};

const NAME: &str = "erodax-init";
const DEVKMSG: &str = "/proc/sys/kernel/printk_devkmsg";

// Levels of the kernel log.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;
const DEBUG: u8 = 7;

/// Writes to the kernel log, so that messages are kept and reach every console by the rules of
/// `loglevel=` and `quiet`; and to standard error what the kernel would not show though it
/// matters.
pub(crate) struct Log {
    kmsg: Option<File>,
    /// The kernel shows messages of lower levels than this.
    console_level: u8,
    debug: bool,
    /// The kernel's limit on the number of messages from outside, to be put back.
    devkmsg: Option<String>,
}

impl Log {
    /// Opens the log; /proc and /dev should be there.
    pub(crate) fn open() -> Self {
        use_console();
        let devkmsg = fs::read_to_string(DEVKMSG).ok();
        // A message that matters must not be the one too many. A setting on the kernel command
        // line cannot be changed.
        let _ = fs::write(DEVKMSG, "on\n");
        Self {
            kmsg: OpenOptions::new().write(true).open("/dev/kmsg").ok(),
            console_level: fs::read_to_string("/proc/sys/kernel/printk")
                .ok()
                .and_then(|text| text.split_whitespace().next()?.parse().ok())
                .unwrap_or(0),
            debug: false,
            devkmsg,
        }
    }

    /// Puts the kernel's settings back.
    pub(crate) fn close(&self) {
        if let Some(devkmsg) = &self.devkmsg {
            let _ = fs::write(DEVKMSG, devkmsg);
        }
    }

    /// Whether every step is shown.
    pub(crate) fn set_debug(&mut self, debug: bool) {
        self.debug = debug;
    }

    /// A step, shown when asked for.
    pub(crate) fn step(&self, text: Arguments<'_>) {
        self.write(DEBUG, self.debug, &text);
    }

    /// Something that everybody may know.
    pub(crate) fn info(&self, text: Arguments<'_>) {
        self.write(INFO, self.debug, &text);
    }

    /// Something that is wrong but does not stop the boot.
    pub(crate) fn warn(&self, text: Arguments<'_>) {
        self.write(WARNING, true, &text);
    }

    /// Why the boot stops.
    pub(crate) fn error(&self, text: &dyn Display) {
        self.write(ERROR, true, text);
    }

    /// Every line is a record of its own.
    fn write(&self, level: u8, must_show: bool, text: &dyn Display) {
        for line in text.to_string().lines() {
            let record = format!("<{level}>{NAME}: {line}\n");
            let logged = self.kmsg.as_ref().is_some_and(|kmsg| {
                let mut kmsg: &File = kmsg;
                kmsg.write_all(record.as_bytes()).is_ok()
            });
            if must_show && !(logged && level < self.console_level) {
                let _ = writeln!(io::stderr(), "{NAME}: {line}");
            }
        }
    }
}

/// The kernel opens the console for us only if the initramfs has its device node from the start.
fn use_console() {
    if io::stderr().is_terminal() {
        return;
    }
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console");
    if let Ok(console) = console {
        let _ = rustix::stdio::dup2_stdin(&console);
        let _ = rustix::stdio::dup2_stdout(&console);
        let _ = rustix::stdio::dup2_stderr(&console);
    }
}
