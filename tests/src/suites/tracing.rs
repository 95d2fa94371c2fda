// SPDX-License-Identifier: GPL-2.0

//! The trace events: which there are, and what they say of one action each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    calls::{extents, FileExtent},
    mapping::Mapping,
    module,
    mount::Mount,
};
use rustix::{
    fs::{major, minor},
    mm::Advice,
};

use super::zoo;
use crate::{
    erodax::{expectation, load, mount, serve_initrd, unload, Device, GOOD},
    expectation::Entry,
    image::{Content, Image},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "tracing",
    machine: Machine {
        modules: &["erofs"],
        images: &[Image::good(GOOD, Content::Small), zoo::INLINE],
        ..super::BIGGER
    },
    tests: tests![
        fields_of_stock,
        lookup_and_fill_inode,
        reading,
        asking_where_data_lies,
        inline_tail,
        fault_in_place,
        faults_through_the_page_cache,
        readahead_of_a_large_file,
        silent_unless_enabled,
        unload_while_enabled,
    ],
};

const TRACEFS: &str = "/sys/kernel/tracing";

/// One line of the trace.
#[derive(Debug)]
struct Event {
    /// Without `erodax_`.
    name: String,
    fields: BTreeMap<String, String>,
}

impl Event {
    /// From `TASK-PID [CPU] FLAGS TIME: erodax_NAME: KEY=VALUE …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, event) = line.split_once(": erodax_")?;
        let (name, fields) = event.split_once(": ")?;
        let pairs = fields.split(' ').filter_map(|field| field.split_once('='));
        Some(Self {
            name: name.to_owned(),
            fields: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    fn number(&self, field: &str) -> Result<u64> {
        let text = self.fields.get(field);
        let text = text.with_context(|| format!("no {field} in {self:?}"))?;
        match text.strip_prefix("0x") {
            Some(digits) => Ok(u64::from_str_radix(digits, 16)?),
            None => text.parse().with_context(|| format!("{field}={text}")),
        }
    }

    fn check(&self, name: &str, fields: &[(&str, &str)]) -> Result<()> {
        ensure!(self.name == name, "{self:?} is no {name}");
        for (key, value) in fields {
            let is = self.fields.get(*key).map(String::as_str);
            ensure!(is == Some(value), "{key} of {self:?} is not {value:?}");
        }
        Ok(())
    }
}

/// The trace, with every event of the module switched on.
struct Trace {
    tracefs: Mount,
}

impl Trace {
    fn start() -> Result<Self> {
        let tracefs = Mount::new("tracefs", "none", "", TRACEFS)?;
        let trace = Self { tracefs };
        trace.enable(true)?;
        Ok(trace)
    }

    fn enable(&self, is_on: bool) -> Result<()> {
        let path = self.tracefs.path().join("events/erodax/enable");
        fs::write(&path, if is_on { "1" } else { "0" }).context("no events/erodax")
    }

    /// What happened since it was asked last.
    fn take(&self) -> Result<Vec<Event>> {
        let path = self.tracefs.path().join("trace");
        let text = fs::read_to_string(&path)?;
        // Opening it for writing empties it.
        File::create(&path)?;
        Ok(text.lines().filter_map(Event::parse).collect())
    }

    /// What happens during `action`, but for the answers that it got from the cache.
    fn of(&self, action: impl FnOnce() -> Result<()>) -> Result<Vec<Event>> {
        self.take()?;
        action()?;
        self.take()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // The module's, which may be gone.
        let _ = self.enable(false);
    }
}

/// A file of a mounted image, as the events name it.
struct Traced {
    file: File,
    dev: String,
    nid: String,
}

impl Traced {
    fn open(mount: &Mount, name: impl AsRef<Path>) -> Result<Self> {
        let name = name.as_ref();
        let file =
            File::open(mount.path().join(name)).with_context(|| name.display().to_string())?;
        let stat = file.metadata()?;
        Ok(Self {
            file,
            dev: format!("{}:{}", major(stat.dev()), minor(stat.dev())),
            nid: stat.ino().to_string(),
        })
    }

    fn check(&self, event: &Event, name: &str, fields: &[(&str, &str)]) -> Result<()> {
        event.check(name, &[("dev", &self.dev), ("nid", &self.nid)])?;
        event.check(name, fields)
    }

    fn extent(&self) -> Result<FileExtent> {
        let extents = extents(&self.file, 0, u64::MAX)?;
        extents.first().copied().context("no extent")
    }
}

/// The names of an event's own fields; those that all events have come first, before a blank line.
fn fields(system: &str, event: &str) -> Result<BTreeSet<String>> {
    let path = format!("{TRACEFS}/events/{system}/{event}/format");
    let text = fs::read_to_string(&path).context(path)?;
    let own = text.split("\n\n").nth(1).context("no fields")?;
    let declarations = own.lines().filter_map(|line| {
        let declaration = line.trim().strip_prefix("field:")?.split(';').next()?;
        declaration.rsplit(' ').next()
    });
    Ok(declarations.map(str::to_owned).collect())
}

/// Who has scripts for stock's events finds the same fields here.
fn fields_of_stock() -> Result<()> {
    let tracefs = Mount::new("tracefs", "none", "", TRACEFS)?;
    let stock = module::load("erofs")?;
    let module = load("region=initrd fstype=erodax")?;
    for event in [
        "lookup",
        "fill_inode",
        "read_folio",
        "readahead",
        "map_blocks_enter",
        "map_blocks_exit",
    ] {
        let theirs = fields("erofs", &format!("erofs_{event}"))?;
        let ours = fields("erodax", &format!("erodax_{event}"))?;
        ensure!(
            !theirs.is_empty() && theirs.is_subset(&ours),
            "{event}: {theirs:?}, {ours:?}"
        );
    }
    ensure!(!fields("erodax", "erodax_fault")?.is_empty());
    drop(stock);
    unload(module)?;
    tracefs.unmount().context("umount of tracefs")
}

fn lookup_and_fill_inode() -> Result<()> {
    const INODE_SLOT: u64 = 32;
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(GOOD, "")?;
    let look_up = |name: &str| {
        let path = mount.path().join(name);
        trace.of(|| {
            let _ = path.symlink_metadata();
            Ok(())
        })
    };
    let first = look_up("hello")?;
    let root = Traced::open(&mount, ".")?;
    let hello = Traced::open(&mount, "hello")?;
    let [lookup, fill] = first.as_slice() else {
        bail!("{first:?}")
    };
    let fields = [("dev", &*root.dev), ("pnid", &*root.nid), ("name", "hello")];
    lookup.check("lookup", &fields)?;
    hello.check(fill, "fill_inode", &[])?;
    // Inodes lie from block `meta_blkaddr` on.
    let mut meta = [0; 4];
    File::open(Device::of(GOOD)?.node)?.read_exact_at(&mut meta, 1024 + 40)?;
    let place = u64::from(u32::from_le_bytes(meta)) * 4096 + fill.number("nid")? * INODE_SLOT;
    ensure!(
        fill.number("blkaddr")? == place / 4096 && fill.number("ofs")? == place % 4096,
        "{fill:?}, which lies at {place}"
    );
    // Now it is in the caches.
    let again = look_up("hello")?;
    ensure!(again.is_empty(), "{again:?}");
    let absent = look_up("absent")?;
    let [lookup] = absent.as_slice() else {
        bail!("{absent:?}")
    };
    lookup.check("lookup", &[("pnid", &root.nid), ("name", "absent")])?;
    drop(root);
    drop(hello);
    drop(trace);
    mount.unmount()?;
    unload(module)
}

fn reading() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(GOOD, "")?;
    let page = Traced::open(&mount, "page")?;
    let pa = page.extent()?.physical.to_string();
    let events = trace.of(|| Ok(page.file.read_exact_at(&mut [0; 1000], 96)?))?;
    let [enter, exit] = events.as_slice() else {
        bail!("{events:?}")
    };
    let asked = [("la", "96"), ("llen", "1000"), ("flags", "")];
    page.check(enter, "map_blocks_enter", &asked)?;
    let pa = (pa.parse::<u64>()? + 96).to_string();
    let found = [("la", "96"), ("pa", &*pa), ("flags", ""), ("deviceid", "0")];
    page.check(exit, "map_blocks_exit", &found)?;
    page.check(exit, "map_blocks_exit", &[("mflags", "M"), ("ret", "0")])?;
    let len = exit.number("llen")?;
    ensure!(len >= 1000 && len == exit.number("plen")?, "{exit:?}");
    drop((trace, page));
    mount.unmount()?;
    unload(module)
}

fn asking_where_data_lies() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(GOOD, "")?;
    let page = Traced::open(&mount, "page")?;
    let mut extent = None;
    let events = trace.of(|| {
        extent = Some(page.extent()?);
        Ok(())
    })?;
    let [enter, exit] = events.as_slice() else {
        bail!("{events:?}")
    };
    page.check(
        enter,
        "map_blocks_enter",
        &[("la", "0"), ("flags", "FIEMAP")],
    )?;
    let pa = extent.context("no extent")?.physical.to_string();
    let found = [
        ("pa", &*pa),
        ("flags", "FIEMAP"),
        ("llen", "4096"),
        ("mflags", "M"),
    ];
    page.check(exit, "map_blocks_exit", &found)?;
    drop((trace, page));
    mount.unmount()?;
    unload(module)
}

fn inline_tail() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(zoo::INLINE.name, "")?;
    let entries = expectation(zoo::INLINE.name)?;
    let is_small = |entry: &&Entry| {
        entry.sha256.is_some() && entry.size.is_some_and(|size| (1..100).contains(&size))
    };
    let small = entries.iter().find(is_small).context("no small file")?;
    let small = Traced::open(&mount, small.path())?;
    let events = trace.of(|| {
        let read = small.file.read_at(&mut [0; 1], 0)?;
        ensure!(read == 1);
        Ok(())
    })?;
    let exit = events.last().context("no event")?;
    let pa = small.extent()?.physical.to_string();
    small.check(exit, "map_blocks_exit", &[("mflags", "MI"), ("pa", &pa)])?;
    drop((trace, small));
    mount.unmount()?;
    unload(module)
}

fn fault_in_place() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(GOOD, "dax")?;
    let page = Traced::open(&mount, "page")?;
    let mapping = Mapping::read_only(&page.file, 4096)?;
    let events = trace.of(|| {
        ensure!(mapping.touch(100) == 7);
        Ok(())
    })?;
    let fault = events.last().context("no event")?;
    page.check(fault, "fault", &[("pgoff", "0"), ("ret", "NOPAGE")])?;
    let address = mapping.bytes().as_ptr() as u64;
    ensure!(fault.number("address")? & !4095 == address, "{fault:?}");
    // What the page belongs to was asked in between.
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    ensure!(
        names == ["map_blocks_enter", "map_blocks_exit", "fault"],
        "{names:?}"
    );
    drop((trace, mapping, page));
    mount.unmount()?;
    unload(module)
}

fn faults_through_the_page_cache() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    for (advice, name, fields) in [
        (
            Advice::Normal,
            "readahead",
            [("start", "0"), ("nrpage", "1")],
        ),
        (
            Advice::Random,
            "read_folio",
            [("index", "0"), ("order", "0")],
        ),
    ] {
        let mount = mount(GOOD, "dax=never")?;
        let page = Traced::open(&mount, "page")?;
        let mut mapping = Mapping::read_only(&page.file, 4096)?;
        mapping.advise(0..4096, advice)?;
        let events = trace.of(|| {
            ensure!(mapping.touch(100) == 7);
            Ok(())
        })?;
        let [event] = events.as_slice() else {
            bail!("{events:?}")
        };
        page.check(event, name, &fields)?;
        page.check(event, name, &[("raw", "1")])?;
        drop((mapping, page));
        mount.unmount()?;
    }
    drop(trace);
    unload(module)
}

/// Not page by page.
fn readahead_of_a_large_file() -> Result<()> {
    const LARGE: u64 = 256 << 10;
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let entries = expectation(zoo::INLINE.name)?;
    let is_large = |entry: &&Entry| entry.size.is_some_and(|size| size >= LARGE);
    let name = entries.iter().find(is_large).context("no large file")?;
    let mount = mount(zoo::INLINE.name, "dax=never")?;
    let large = Traced::open(&mount, name.path())?;
    let mapping = Mapping::read_only(&large.file, LARGE.try_into()?)?;
    let events = trace.of(|| {
        mapping.touch(0);
        Ok(())
    })?;
    let [event] = events.as_slice() else {
        bail!("{events:?}")
    };
    large.check(event, "readahead", &[("start", "0")])?;
    // What /sys/class/bdi/MAJOR:MINOR/read_ahead_kb says by default.
    ensure!(event.number("nrpage")? == (128 << 10) / 4096, "{event:?}");
    drop((trace, mapping, large));
    mount.unmount()?;
    unload(module)
}

fn silent_unless_enabled() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    trace.enable(false)?;
    let events = trace.of(|| {
        let mount = mount(GOOD, "")?;
        fs::read(mount.path().join("page"))?;
        Ok(mount.unmount()?)
    })?;
    ensure!(events.is_empty(), "{events:?}");
    drop(trace);
    unload(module)
}

fn unload_while_enabled() -> Result<()> {
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    let mount = mount(GOOD, "")?;
    fs::read(mount.path().join("page"))?;
    mount.unmount()?;
    unload(module)?;
    ensure!(!Path::new(TRACEFS).join("events/erodax").exists());
    drop(trace);
    // And they are back, switched off, with the module.
    let module = serve_initrd()?;
    let trace = Trace::start()?;
    drop(trace);
    unload(module)
}
