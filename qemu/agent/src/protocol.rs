// SPDX-License-Identifier: GPL-2.0

//! One JSON object per line, in both directions. The host sends a [`Request`] only after it has
//! seen [`Event::Hello`]: before the agent has opened the port, bytes would be lost.

use std::io::{self, BufRead, Write};

use serde::{de::DeserializeOwned, Deserialize, Serialize};

/// Sent in [`Event::Hello`]; the host refuses a guest of another version, which means that one of
/// the two binaries is stale.
pub const VERSION: u32 = 1;

/// Where the guest has the port.
pub const GUEST_PORT: &str = "/dev/ttyS1";

/// The longest line that is accepted, so that a guest gone wild cannot fill the host's memory.
const MAX_LINE: u64 = 256 * 1024;

/// Host to guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Run one test; answered by [`Event::Started`] and [`Event::Finished`].
    Run {
        /// The suite's name.
        suite: String,
        /// The test's name inside the suite.
        test: String,
        /// Time limit in seconds, kept by the guest.
        timeout: u64,
    },
    /// Power the VM off.
    Exit,
}

/// Guest to host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The agent is up.
    Hello {
        /// Release of the running kernel, as `uname -r` has it.
        kernel: String,
        /// The agent's [`VERSION`].
        version: u32,
    },
    /// The test's process is about to start.
    Started {
        /// As in the request.
        suite: String,
        /// As in the request.
        test: String,
    },
    /// The test's process is gone, or cannot be got rid of.
    Finished {
        /// As in the request.
        suite: String,
        /// As in the request.
        test: String,
        /// How it ended.
        outcome: Outcome,
        /// What the test printed, or why it failed; empty for a quiet test.
        message: String,
        /// Run time, in the guest's clock.
        millis: u64,
    },
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned `Ok`.
    Passed,
    /// It returned an error, panicked, died of a signal or left something behind.
    Failed,
    /// It ran into its time limit and was killed.
    TimedOut,
    /// It ran into its time limit and does not die: the VM is of no more use.
    Stuck,
}

/// Writes `message` as one line.
///
/// # Errors
/// The port's.
pub fn send<T: Serialize>(port: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    port.write_all(&line)?;
    port.flush()
}

/// Reads the next line; `None` at the end of the stream.
///
/// # Errors
/// The port's, and `InvalidData` for a line that is no message of type `T`.
pub fn receive<T: DeserializeOwned>(port: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    io::Read::take(&mut *port, MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        let text = String::from_utf8_lossy(&line);
        io::Error::new(io::ErrorKind::InvalidData, format!("{error} in {text:?}"))
    })
}

/// The line that the agent writes to the kernel log before a test, so that the host can tell
/// which test a kernel message belongs to.
pub fn begin_marker(suite: &str, test: &str) -> String {
    format!("erodax-test: begin {suite}::{test}")
}

/// The line that the agent writes to the kernel log after a test.
pub fn end_marker(suite: &str, test: &str) -> String {
    format!("erodax-test: end {suite}::{test}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Request {
        Request::Run {
            suite: "s".into(),
            test: "t".into(),
            timeout: 5,
        }
    }

    #[test]
    fn messages_survive_the_wire() {
        let mut wire = Vec::new();
        send(&mut wire, &run()).unwrap();
        send(&mut wire, &Request::Exit).unwrap();
        assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), 2);
        let mut port = wire.as_slice();
        assert_eq!(receive(&mut port).unwrap(), Some(run()));
        assert_eq!(receive(&mut port).unwrap(), Some(Request::Exit));
        assert_eq!(receive::<Request>(&mut port).unwrap(), None);
    }

    #[test]
    fn a_message_with_line_breaks_stays_on_one_line() {
        let event = Event::Finished {
            suite: "s".into(),
            test: "t".into(),
            outcome: Outcome::Failed,
            message: "first\nsecond".into(),
            millis: 1,
        };
        let mut wire = Vec::new();
        send(&mut wire, &event).unwrap();
        assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(receive(&mut wire.as_slice()).unwrap(), Some(event));
    }

    #[test]
    fn garbage_is_an_error_that_quotes_it() {
        let error = receive::<Event>(&mut &b"[ 1.0] oops\n"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("oops"), "{error}");
    }
}
