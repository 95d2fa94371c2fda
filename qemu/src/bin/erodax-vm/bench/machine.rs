// SPDX-License-Identifier: GPL-2.0

//! One measured machine.

use std::{fs, time::Duration};

use anyhow::{bail, Context, Result};
use erodax_bench::{
    plan::{FILES, NAMES},
    record, Column, Driver, Phase, Plan, Record, Source,
};
use erodax_qemu::{Accelerator, ConsoleBoot, Environment, InitrdBuilder, Scenario, Strings};

use super::{
    images::Payload,
    rows::{Place, Row},
};

/// Enough for the peer that needs most: an image in the initramfs, its copy on a RAM disk, and the
/// page cache.
const MEMORY_MIB: u32 = 2048;
/// Where the memory begins that the kernel does not get, if any: below what QEMU gives the initrd.
const REGION: u64 = 512 << 20;
/// pmem devices and carve-outs have sizes in multiples of this.
const REGION_UNIT: u64 = 2 << 20;
/// Peers that unpack a lot for each page take minutes.
const LIMIT: Duration = Duration::from_secs(900);

/// What to do with one machine.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) row: &'static Row,
    pub(crate) columns: Vec<Column>,
    pub(crate) strings: Strings,
    pub(crate) profile: Option<Phase>,
}

impl Task {
    pub(crate) fn new(row: &'static Row, columns: &[Column], strings: Strings) -> Self {
        Self {
            row,
            columns: columns.to_vec(),
            strings,
            profile: None,
        }
    }

    /// Boots the machine and returns what it reports.
    pub(crate) fn run(&self, environment: &Environment, payload: &Payload) -> Result<Vec<Record>> {
        let scenario = self.scenario(environment, payload)?;
        let accelerator = Accelerator::Counting(self.strings);
        let mut boot = ConsoleBoot::run(environment, accelerator, &scenario, |_| {})?;
        if let Some(splat) = boot.console.judge(None)? {
            let log = boot.console.path().display();
            bail!("the kernel complained ({log}):\n{splat}");
        }
        record::parse(&boot.output).with_context(|| boot.console.tail())
    }

    fn scenario(&self, environment: &Environment, payload: &Payload) -> Result<Scenario> {
        let row = self.row;
        let builder = self.initrd(environment, payload)?;
        let mut words = vec!["nokaslr".to_owned(), "quiet".to_owned()];
        let mut ram_files = Vec::new();
        let mut region = (0, 0);
        let builder = match row.place {
            Place::Nowhere => builder,
            Place::Unpacked => builder.unpacked(&payload.tree)?,
            Place::Initrd => {
                words.push("retain_initrd".to_owned());
                builder.image("root", &row.image.file(environment, payload)?)?
            }
            Place::CarveOut | Place::Pmem => {
                let image = row.image.file(environment, payload)?;
                let size = fs::metadata(&image)?.len().next_multiple_of(REGION_UNIT);
                let kind = if row.place == Place::Pmem { '!' } else { '$' };
                words.push(format!("memmap={size:#x}{kind}{REGION:#x}"));
                ram_files.push((REGION, image));
                region = (REGION, size);
                builder
            }
            Place::RamDisk | Place::File | Place::Loop => {
                if row.place == Place::File {
                    // EROFS does not take files of tmpfs.
                    words.push("rootfstype=ramfs".to_owned());
                }
                builder.unpacked(&row.image.directory(environment, payload)?)?
            }
        };
        words.extend(self.plan(region).words());
        let mut scenario = Scenario::new(format!("bench-{}", self.name()), builder.build()?);
        scenario.memory_mib = MEMORY_MIB;
        scenario.cmdline = words;
        scenario.ram_files = ram_files;
        scenario.boot_limit = LIMIT;
        Ok(scenario)
    }

    fn name(&self) -> String {
        match self.strings {
            Strings::Words => self.row.name.to_owned(),
            Strings::Bytes => format!("{}-bytes", self.row.name),
        }
    }

    fn initrd<'a>(
        &self,
        environment: &'a Environment,
        payload: &Payload,
    ) -> Result<InitrdBuilder<'a>> {
        let name = format!("bench-{}", self.row.name);
        let mut modules = Vec::new();
        match self.row.driver {
            Driver::Erofs => modules.push("erofs"),
            Driver::Squashfs => modules.push("squashfs"),
            Driver::Erodax | Driver::None => {}
        }
        match self.row.place {
            Place::Pmem => modules.extend(["libnvdimm", "nd_btt", "nd_pmem", "nd_e820"]),
            Place::RamDisk => modules.push("brd"),
            Place::Loop => modules.push("loop"),
            _ => {}
        }
        let builder = InitrdBuilder::new(environment, &name, "erodax-bench")?
            .bytes(FILES, payload.files.clone())
            .bytes(NAMES, payload.names.clone())
            .modules(&modules)?;
        match self.row.driver {
            Driver::Erodax => builder.erodax(),
            _ => Ok(builder),
        }
    }

    fn plan(&self, (address, size): (u64, u64)) -> Plan {
        Plan {
            driver: self.row.driver,
            source: match self.row.place {
                Place::Nowhere => Source::Nothing,
                Place::Unpacked => Source::Unpacked,
                Place::Initrd => Source::Initrd,
                Place::CarveOut => Source::CarveOut { address, size },
                Place::Pmem => Source::Pmem,
                Place::RamDisk => Source::RamDisk,
                Place::File => Source::File,
                Place::Loop => Source::Loop,
            },
            options: self.row.options.to_owned(),
            columns: self.columns.clone(),
            profile: self.profile,
        }
    }
}
