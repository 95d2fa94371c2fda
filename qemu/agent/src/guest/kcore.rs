// SPDX-License-Identifier: GPL-2.0

//! The kernel's own memory, through /proc/kcore.

use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    str,
};

use anyhow::{ensure, Context, Result};
use object::{
    elf::{FileHeader64, ProgramHeader64, PT_LOAD, PT_NOTE},
    read::elf::{FileHeader, ProgramHeader},
    LittleEndian, ReadCache,
};

/// Bytes that an entry of the lowest page table maps.
const PAGE: u64 = 4096;

/// /proc/kcore, which has System RAM, the kernel itself, and the structs of System RAM's pages. What
/// else the kernel has mapped is found as the processor does it, by page tables, if RAM is behind
/// it: the structs of other pages.
pub struct KernelMemory {
    core: File,
    segments: Vec<Segment>,
    /// The ELF note VMCOREINFO: lines of `KEY=VALUE`.
    info: String,
    /// Address of the page table that all addresses begin at.
    top_table: u64,
}

struct Segment {
    addresses: Range<u64>,
    /// Physical address, or something far beyond if it is none.
    physical: u64,
    offset: u64,
}

impl KernelMemory {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be read, or lacks what is needed.
    pub fn open() -> Result<Self> {
        const CORE: &str = "/proc/kcore";
        type Header = ProgramHeader64<LittleEndian>;
        let core = File::open(CORE).with_context(|| format!("cannot open {CORE}"))?;
        let cache = ReadCache::new(File::open(CORE)?);
        let header = FileHeader64::<LittleEndian>::parse(&cache)?;
        let endian = header.endian()?;
        let programs: &[Header] = header.program_headers(endian, &cache)?;
        let of_type = |wanted| {
            programs
                .iter()
                .filter(move |program| program.p_type(endian) == wanted)
        };
        let mut info = None;
        for program in of_type(PT_NOTE) {
            let mut notes = program.notes(endian, &cache)?.context("no notes")?;
            while let Some(note) = notes.next()? {
                if note.name() == b"VMCOREINFO" {
                    info = Some(str::from_utf8(note.desc())?.to_owned());
                }
            }
        }
        let segments = of_type(PT_LOAD).map(|program| {
            let start = program.p_vaddr(endian);
            Segment {
                addresses: start..start.saturating_add(program.p_memsz(endian)),
                physical: program.p_paddr(endian),
                offset: program.p_offset(endian),
            }
        });
        Ok(Self {
            segments: segments.collect(),
            info: info.with_context(|| format!("{CORE} has no VMCOREINFO"))?,
            core,
            top_table: symbol("init_top_pgt")?,
        })
    }

    /// A number that the kernel tells of itself, such as `SIZE(page)`.
    ///
    /// # Errors
    /// When it does not.
    pub fn number(&self, key: &str) -> Result<u64> {
        let mut lines = self.info.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Ok(value
            .with_context(|| format!("VMCOREINFO has no {key}"))?
            .parse()?)
    }

    /// The 8 bytes at an address.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn word(&self, address: u64) -> Result<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// Reads what is at an address.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let in_page = usize::try_from(PAGE - at % PAGE)?.min(rest.len());
            let (part, after) = rest.split_at_mut(in_page);
            let mut segments = self.segments.iter();
            match segments.find(|segment| segment.addresses.contains(&at)) {
                Some(segment) => {
                    self.read_at(segment.offset + (at - segment.addresses.start), part)?;
                }
                None => self.read_physical(self.behind(at)?, part)?,
            }
            at += u64::try_from(in_page)?;
            rest = after;
        }
        Ok(())
    }

    /// The physical address that the kernel's page tables have for an address.
    fn behind(&self, address: u64) -> Result<u64> {
        const PRESENT: u64 = 1;
        const IS_LAST: u64 = 1 << 7;
        const PHYSICAL: u64 = (1 << 52) - PAGE;
        const LOWEST: u64 = 12;
        let mut shift = LOWEST + 9 * (3 + self.number("NUMBER(pgtable_l5_enabled)")?);
        let index = |shift: u64| ((address >> shift) & 511) * 8;
        let mut entry = self.word(self.top_table + index(shift))?;
        loop {
            ensure!(entry & PRESENT != 0, "nothing is mapped at {address:#x}");
            if shift == LOWEST || entry & IS_LAST != 0 {
                let inside = (1 << shift) - 1;
                return Ok((entry & PHYSICAL & !inside) + (address & inside));
            }
            shift -= 9;
            let mut word = [0; 8];
            self.read_physical((entry & PHYSICAL) + index(shift), &mut word)?;
            entry = u64::from_ne_bytes(word);
        }
    }

    fn read_physical(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let offset = self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.physical)?;
            let len = segment.addresses.end - segment.addresses.start;
            (inside < len).then_some(segment.offset + inside)
        });
        self.read_at(
            offset.with_context(|| format!("no RAM at {address:#x} in /proc/kcore"))?,
            bytes,
        )
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.core
            .read_exact_at(bytes, offset)
            .with_context(|| format!("cannot read /proc/kcore at {offset:#x}"))
    }
}

/// The address of a kernel symbol.
///
/// # Errors
/// When there is none, or the kernel does not tell.
pub fn symbol(name: &str) -> Result<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let mut lines = symbols.lines().map(|line| line.split(' '));
    let address = lines.find_map(|mut fields| {
        let address = fields.next()?;
        (fields.nth(1)? == name).then_some(address)
    });
    let address = address.with_context(|| format!("the kernel has no symbol {name}"))?;
    let address = u64::from_str_radix(address, 16)?;
    ensure!(address != 0, "the kernel does not tell its addresses");
    Ok(address)
}
