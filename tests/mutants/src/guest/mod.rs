// SPDX-License-Identifier: GPL-2.0

//! The init of a machine that serves mutants: makes one after the other, and powers off. If the
//! kernel dies, this does too, and the harness knows by the last phase where.

mod carve_out;
mod drivers;
mod file;
mod walk;

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::{
    guest::{kmsg::KernelLog, open_port, prepare_filesystems},
    protocol, splat,
};
use fastrand::Rng;
use rustix::{
    system::{reboot, uname, RebootCommand},
    termios::tcdrain,
};

use crate::{
    difference::{self, Image},
    images::Mutant,
    plan::{INPUT, SEEDS},
    record::Counts,
    transcript::Transcript,
    Mode, Phase, Plan, Record, Seeds,
};

use drivers::Drivers;

/// Images between two reports of progress.
const REPORTED: u64 = 500;

/// Does what the plan says, and powers the machine off.
///
/// # Errors
/// When the harness cannot be told about an error, or this is not such a machine.
pub fn main() -> Result<()> {
    ensure!(process::id() == 1, "this is the init of a virtual machine");
    prepare_filesystems()?;
    let mut port = open_port()?;
    let last = match run(&mut port) {
        Ok(()) => Record::Finished,
        Err(error) => Record::Failed {
            message: format!("{error:#}"),
        },
    };
    protocol::send(&mut port, &last)?;
    tcdrain(&port)?;
    reboot(RebootCommand::PowerOff).context("cannot power off")
}

fn run(port: &mut File) -> Result<()> {
    let cmdline = fs::read_to_string("/proc/cmdline").context("no /proc/cmdline")?;
    let plan = Plan::parse(&cmdline)?;
    // A task that sleeps for ever is a hang, too; the kernel then says where.
    let _ = fs::write("/proc/sys/kernel/hung_task_timeout_secs", "30");
    let mut guest = Guest {
        port,
        drivers: Drivers::load(plan.mode)?,
        log: KernelLog::from_now()?,
        counts: Counts::default(),
    };
    guest.send(&Record::Started {
        kernel: uname().release().to_string_lossy().into_owned(),
    })?;
    if Path::new(INPUT).exists() {
        let input = Mutant {
            origin: INPUT.to_owned(),
            bytes: fs::read(INPUT)?,
            rng: Rng::with_seed(plan.first),
        };
        guest.serve(plan, &[(plan.first, input)])?;
        return guest.finish(plan.first);
    }
    let seeds = Seeds::read(Path::new(SEEDS))?;
    let mut reported = 0;
    let mut done = 0;
    while done < plan.count {
        let end = plan.count.min(done + guest.drivers.room());
        let numbers = (done..end).map(|number| plan.first.wrapping_add(number));
        let images: Vec<_> = numbers.map(|seed| (seed, seeds.mutant(seed))).collect();
        guest.serve(plan, &images)?;
        done = end;
        if done - reported >= REPORTED {
            reported = done;
            let progress = Record::Progress(guest.counts);
            guest.send(&progress)?;
        }
    }
    guest.finish(plan.first.wrapping_add(plan.count).wrapping_sub(1))
}

struct Guest<'a> {
    port: &'a mut File,
    drivers: Drivers,
    log: KernelLog,
    counts: Counts,
}

impl Guest<'_> {
    fn send(&mut self, record: &Record) -> Result<()> {
        Ok(protocol::send(self.port, record)?)
    }

    fn begin(&mut self, phase: Phase) -> Result<()> {
        Ok(self.port.write_all(&[phase.byte()])?)
    }

    fn finish(&mut self, last: u64) -> Result<()> {
        let progress = Record::Progress(self.counts);
        self.send(&progress)?;
        self.drivers.unload()?;
        self.listen(last, false)
    }

    /// Serves as many images as the drivers have room for.
    fn serve(&mut self, plan: Plan, images: &[(u64, Mutant)]) -> Result<()> {
        for (number, (seed, mutant)) in images.iter().enumerate() {
            self.begin(Phase::Image)?;
            if number == 0 {
                self.drivers.put(images)?;
            }
            match plan.mode {
                Mode::Erodax | Mode::CarveOut => self.alone(number, *seed, mutant)?,
                Mode::Compare => self.compare(*seed, &Image::new(&mutant.bytes))?,
            }
        }
        Ok(())
    }

    fn alone(&mut self, number: usize, seed: u64, mutant: &Mutant) -> Result<()> {
        let options = match mutant.rng.clone().u8(..8) {
            0..5 => "",
            5..7 => "dax=never",
            _ => "dax=always",
        };
        self.erodax(number, seed, options)?;
        Ok(())
    }

    fn compare(&mut self, seed: u64, image: &Image<'_>) -> Result<()> {
        let stock = self.stock(seed)?;
        let again = self.stock(seed)?;
        let ours = self.erodax(0, seed, "")?;
        if stock != again {
            return self.send(&Record::Fickle { seed });
        }
        for difference in difference::find(image, &stock, &ours) {
            self.send(&Record::Difference {
                seed,
                class: difference.class,
                text: difference.text,
            })?;
        }
        Ok(())
    }

    fn stock(&mut self, seed: u64) -> Result<Transcript> {
        self.begin(Phase::Stock)?;
        let transcript = self.drivers.walk_stock(seed);
        self.listen(seed, true)?;
        transcript
    }

    fn erodax(&mut self, number: usize, seed: u64, options: &str) -> Result<Transcript> {
        self.begin(Phase::Erodax)?;
        let transcript = self.drivers.walk_erodax(number, seed, options);
        self.listen(seed, false)?;
        let transcript = transcript?;
        transcript.count(&mut self.counts);
        if let Some(text) = transcript.contradiction() {
            self.send(&Record::Contradiction { seed, text })?;
        }
        Ok(transcript)
    }

    /// Whether the kernel has complained since the last time.
    fn listen(&mut self, seed: u64, stock: bool) -> Result<()> {
        let lines = self.log.lines()?;
        if let Some(text) = splat::find(&lines.join("\n")) {
            self.send(&Record::Complaint { seed, stock, text })?;
        }
        Ok(())
    }
}
