// SPDX-License-Identifier: GPL-2.0

//! Programs of an image under observation: by debuggers, probes and core dumps.

use std::{
    fs::{self, File},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::Stdio,
    ptr,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Mapping, PAGE},
    mount::Mount,
    system::read_own_memory,
};
use nix::{
    sys::{
        ptrace::{self, AddressType, Options},
        signal::Signal,
        wait::{waitpid, WaitStatus},
    },
    unistd::Pid,
};
use object::{elf::FileHeader64, read::elf::ElfFile, LittleEndian, Object, ObjectSegment};
use rustix::{
    io::Errno,
    process::{getrlimit, setrlimit, Resource, Rlimit},
};

use super::{each_big, programs::with_program};
use crate::{
    kinds::{Kind, Memory},
    probe::Probe,
    programs::{self, Answering, CHANGED, UNCHANGED},
};

pub(super) fn read_by_a_debugger<K: Kind>() -> Result<()> {
    each_big::<K>(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        let mut copy = vec![0; whole.len()];
        let read = read_own_memory(&map.bytes()[..whole.len()], &mut copy)?;
        ensure!(read == whole.len() && copy == whole, "process_vm_readv");
        let address = map.bytes().as_ptr() as u64;
        File::open("/proc/self/mem")?.read_exact_at(&mut copy, address)?;
        ensure!(copy == whole, "/proc/self/mem");
        Ok(())
    })
}

/// A debugger changes the code of one process, which stops there; the file and other processes
/// keep theirs.
pub(super) fn breakpoint<K: Kind>() -> Result<()> {
    with_program::<K>(|root, _| {
        let before = fs::read(root.join(programs::FILE))?;
        let (mut program, mut other) = (Answering::start(root)?, Answering::start(root)?);
        let pid = Pid::from_raw(i32::try_from(program.id())?);
        ptrace::seize(pid, Options::empty())?;
        ptrace::interrupt(pid)?;
        waitpid(pid, None)?;
        let at = Breakpoint::set(pid, program.address)?;
        ptrace::cont(pid, None)?;
        program.ask(7)?;
        let stop = waitpid(pid, None)?;
        ensure!(
            stop == WaitStatus::Stopped(pid, Signal::SIGTRAP),
            "{stop:?}"
        );
        other.ask(8)?;
        other.check_answer(8)?;
        at.go_on()?;
        ptrace::detach(pid, None)?;
        program.check_answer(7)?;
        program.end()?;
        other.end()?;
        ensure!(fs::read(root.join(programs::FILE))? == before, "the file");
        Ok(())
    })
}

/// One byte of a stopped process's code.
struct Breakpoint {
    pid: Pid,
    address: u64,
    code: i64,
}

impl Breakpoint {
    /// x86's `int3`.
    const TRAP: i64 = 0xcc;

    fn set(pid: Pid, address: u64) -> Result<Self> {
        let code = ptrace::read(pid, pointer(address)?).context("PTRACE_PEEKDATA")?;
        let trap = (code & !0xff) | Self::TRAP;
        ptrace::write(pid, pointer(address)?, trap).context("PTRACE_POKEDATA")?;
        let now = ptrace::read(pid, pointer(address)?)?;
        ensure!(now == trap, "{now:#x}, not {trap:#x}");
        Ok(Self { pid, address, code })
    }

    /// Lets the process run what is really there; it must have stopped behind the trap.
    fn go_on(self) -> Result<()> {
        let mut registers = ptrace::getregs(self.pid)?;
        ensure!(registers.rip == self.address + 1, "{:#x}", registers.rip);
        registers.rip = self.address;
        ptrace::write(self.pid, pointer(self.address)?, self.code)?;
        Ok(ptrace::setregs(self.pid, registers)?)
    }
}

fn pointer(address: u64) -> Result<AddressType> {
    Ok(ptr::without_provenance_mut(usize::try_from(address)?))
}

/// Uprobes count in processes that run already and in those that come later. They need a page
/// cache to read from, though it may be empty, which `S_DAX` files have not.
pub(super) fn probed<K: Kind>() -> Result<()> {
    with_program::<K>(|root, options| {
        let tracing = Mount::new("tracefs", "none", "", "/mnt/tracing")?;
        let mut early = Answering::start(root)?;
        let offset = offset_in_file(&early)?;
        let probe = Probe::enable(tracing.path(), &root.join(programs::FILE), offset);
        if K::makes_dax_files(options) {
            let refused = probe.err().context("a probe in a DAX file")?;
            let code = refused.downcast_ref().and_then(Errno::from_io_error);
            ensure!(code == Some(Errno::IO), "{refused:?}");
            early.end()?;
            fs::write(tracing.path().join("uprobe_events"), "\n")?;
            return Ok(tracing.unmount()?);
        }
        let probe = probe?;
        let mut late = Answering::start(root)?;
        for number in 1..=3 {
            early.ask(number)?;
            early.check_answer(number)?;
        }
        for number in 1..=5 {
            late.ask(number)?;
            late.check_answer(number)?;
        }
        let hits = probe.hits()?;
        ensure!(hits == 8, "{hits} hits, not 8");
        late.end()?;
        probe.disable()?;
        early.ask(9)?;
        early.check_answer(9)?;
        early.end()?;
        Ok(tracing.unmount()?)
    })
}

/// Where in its file a program's function is.
fn offset_in_file(program: &Answering) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", program.id()))?;
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16);
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (range, offset) = (fields.next(), fields.nth(1));
        let (start, end) = range
            .and_then(|range| range.split_once('-'))
            .context("maps")?;
        let (start, end) = (hexadecimal(start)?, hexadecimal(end)?);
        if (start..end).contains(&program.address) {
            return Ok(program.address - start + hexadecimal(offset.context("maps")?)?);
        }
    }
    anyhow::bail!("no mapping at {:#x}: {maps}", program.address)
}

/// Where core dumps go.
const CORE: &str = "/tmp/core";
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// What core dumps contain: every kind of memory, `S_DAX` files among them or not.
const CORE_FILTER: &str = "/proc/self/coredump_filter";

/// The dump has the program's changed data, and its unchanged code when that is asked for.
pub(super) fn core_dump<K: Kind>() -> Result<()> {
    let pattern = fs::read_to_string(CORE_PATTERN)?;
    fs::write(CORE_PATTERN, CORE)?;
    let filter = if K::MEMORY == Memory::FsDax {
        "0xbf"
    } else {
        "0x3f"
    };
    fs::write(CORE_FILTER, filter)?;
    let limit = getrlimit(Resource::Core).maximum;
    let unlimited = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::Core, unlimited)?;
    let result = with_program::<K>(|root, _| {
        let output = programs::command(root, "crash")
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.core_dumped(), "{}", output.status);
        let said = String::from_utf8(output.stdout)?;
        let mut lines = said.lines();
        let mut address = || -> Result<u64> { Ok(lines.next().context("no address")?.parse()?) };
        let (data, code) = (address()?, address()?);
        let core = fs::read(CORE).context("no core dump")?;
        fs::remove_file(CORE)?;
        let core = ElfFile::<FileHeader64<LittleEndian>>::parse(&*core)?;
        let words = [CHANGED.to_le_bytes(), UNCHANGED.to_le_bytes()].concat();
        ensure!(in_core(&core, data, words.len())? == words, ".data");
        check_code(&core, &root.join(programs::FILE), code)
    });
    fs::write(CORE_PATTERN, pattern)?;
    result
}

/// The page of code at `address` is in the file.
fn check_code(
    core: &ElfFile<'_, FileHeader64<LittleEndian>>,
    file: &Path,
    address: u64,
) -> Result<()> {
    let page = u64::try_from(PAGE)?;
    let dumped = in_core(core, address / page * page, PAGE)?;
    let file = fs::read(file)?;
    let is_there = file.chunks_exact(PAGE).any(|page| page == dumped);
    ensure!(is_there, "the dump's code is not the file's");
    Ok(())
}

fn in_core<'a>(
    core: &ElfFile<'a, FileHeader64<LittleEndian>>,
    address: u64,
    len: usize,
) -> Result<&'a [u8]> {
    let len = u64::try_from(len)?;
    let found = core
        .segments()
        .find_map(|segment| segment.data_range(address, len).ok()?);
    found.with_context(|| format!("the core dump lacks {address:#x}"))
}
