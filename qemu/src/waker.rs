// SPDX-License-Identifier: GPL-2.0

//! Machines that have gone to sleep (S3) are woken: a guest cannot do that for itself with every
//! kernel.
//!
//! QEMU's monitor speaks QMP: one JSON object per line, in both directions.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use serde_json::Value;

/// How long a machine sleeps.
const SLEEP: Duration = Duration::from_millis(500);

/// Wakes the machine of this monitor whenever it sleeps, as long as there is one.
pub(crate) fn keep_awake(monitor: UnixStream) {
    // Without a waker a machine that sleeps does not answer in time, which is noticed.
    thread::spawn(move || serve(&monitor, BufReader::new(&monitor)));
}

fn serve(mut commands: impl Write, answers: impl BufRead) -> io::Result<()> {
    // The monitor takes no other command before this one.
    execute(&mut commands, "qmp_capabilities")?;
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(&line?)?;
        if answer["event"] == "SUSPEND" {
            thread::sleep(SLEEP);
            execute(&mut commands, "system_wakeup")?;
        }
    }
    Ok(())
}

fn execute(commands: &mut impl Write, command: &str) -> io::Result<()> {
    let request = serde_json::json!({ "execute": command });
    writeln!(commands, "{request}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_after_each_sleep_and_at_no_other_event() {
        let answers = concat!(
            r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#,
            "\n",
            r#"{"return": {}}"#,
            "\n",
            r#"{"event": "RTC_CHANGE", "data": {"offset": 1}}"#,
            "\n",
            r#"{"event": "SUSPEND"}"#,
            "\n",
            r#"{"event": "WAKEUP"}"#,
            "\n",
            r#"{"event": "SUSPEND"}"#,
            "\n",
        );
        let mut commands = Vec::new();
        serve(&mut commands, answers.as_bytes()).unwrap();
        let commands = String::from_utf8(commands).unwrap();
        let names: Vec<_> = commands
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["execute"].clone())
            .collect();
        assert_eq!(
            names,
            ["qmp_capabilities", "system_wakeup", "system_wakeup"]
        );
    }
}
