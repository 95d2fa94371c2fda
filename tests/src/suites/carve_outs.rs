// SPDX-License-Identifier: GPL-2.0

//! Images in memory that the kernel was told not to use (`memmap=`): what is special to it, its
//! pages of 2 MiB above all.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls,
    iomem::{self, Resource},
    kmsg::KernelLog,
    mapping::{Advice, MapFlags, Mapping, MprotectFlags, ProtFlags, PAGE},
    module::{self, is_loaded, Module},
    system::{in_child, read_own_memory, splice_pages},
};
use rustix::{io::Errno, pipe::pipe};

use crate::{
    erodax::{
        check_load_refused, check_no_leak, expectation, load, load_refused, messages, mount,
        mount_source, serve_initrd, unload, Device, Footprint, GOOD,
    },
    expectation::sha256,
    image::{Content, Image},
    suites::zoo,
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "carve_outs",
    machine: Machine {
        cmdline: &[
            "retain_initrd",
            WHOLE_SECTION,
            // Not at a block's beginning, with one whole block in it.
            "memmap=4M$0x14100000",
        ],
        modules: &["ramoops"],
        images: &[Image::good(GOOD, Content::Small), zoo::PLAIN],
        ..Machine::RETAINING
    },
    tests: tests![
        served_and_given_back,
        the_whole_tree,
        two_in_one_block,
        mapped_by_huge_pages,
        huge_pages_at_will,
        copies_take_only_their_page,
        undone_in_parts,
        read_by_the_kernel,
        unloading_waits_for_borrowers,
        whole_blocks_of_an_odd_range,
        odd_edges_are_refused,
        across_the_end,
        used_by_another_driver,
        leaks_nothing,
    ],
};

/// A whole section of the memory map, so that nothing in it has pages yet.
pub(super) const WHOLE_SECTION: &str = "memmap=128M$0x8000000";
/// Where it begins.
const CARVE_OUT: u64 = 0x800_0000;
/// The whole block in the second one.
const ODD_BLOCK: u64 = 0x1420_0000;
/// What a huge page maps.
pub(super) const BLOCK: usize = 2 << 20;

/// A file of one and a half blocks.
pub(super) const BIG: &str = "big";

/// Puts an image of the initrd at a physical address, which must be reserved.
pub(super) fn put(image: &str, address: u64) -> Result<u64> {
    let module = serve_initrd()?;
    let bytes = fs::read(Device::of(image)?.node)?;
    unload(module)?;
    let memory = File::options().write(true).open("/dev/mem")?;
    memory.write_all_at(&bytes, address).context("/dev/mem")?;
    Ok(bytes.len() as u64)
}

/// Serves the image of the generated tree, whose big file begins at a block: its address, and
/// the module.
pub(super) fn serve() -> Result<(u64, Module)> {
    let module = serve_initrd()?;
    let mounted = mount(zoo::PLAIN.name, "dax")?;
    let file = File::open(mounted.path().join(BIG))?;
    let extents = calls::extents(&file, 0, 1)?;
    let offset = extents
        .first()
        .context("the big file has no data")?
        .physical;
    drop(file);
    mounted.unmount()?;
    unload(module)?;
    let address = CARVE_OUT + offset.next_multiple_of(BLOCK as u64) - offset;
    let size = put(zoo::PLAIN.name, address)?;
    Ok((address, load(&format!("region={address:#x},{size}"))?))
}

/// Runs `body` on the big file and its content.
fn with_big(body: impl FnOnce(&File, &[u8]) -> Result<()>) -> Result<()> {
    let (_, module) = serve()?;
    let mut log = KernelLog::from_now()?;
    let mount = mount_source(Path::new("/dev/erodax0"), "dax", "carve-out")?;
    let file = File::open(mount.path().join(BIG))?;
    let mut whole = Vec::new();
    (&file).read_to_end(&mut whole)?;
    ensure!(whole.len() > BLOCK + BLOCK / 4, "{} bytes", whole.len());
    body(&file, &whole)?;
    drop(file);
    mount.unmount()?;
    unload(module)?;
    // Every page is back at its one reference, else unloading would have waited.
    let messages = messages(&mut log)?;
    ensure!(messages.is_empty(), "{messages:?}");
    Ok(())
}

/// Blocks that are mapped by huge pages, by all processes.
pub(super) fn huge_pages() -> Result<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("FilePmdMapped:"))
        .context("no FilePmdMapped")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024 / BLOCK)
}

fn claims() -> Result<Vec<Resource>> {
    let mut resources = iomem::resources()?;
    resources.retain(|resource| resource.name == "erodax");
    Ok(resources)
}

fn served_and_given_back() -> Result<()> {
    put(GOOD, CARVE_OUT)?;
    let before = Footprint::now()?;
    let (address, module) = serve()?;
    let [device] = &Device::all()?[..] else {
        anyhow::bail!("not one device")
    };
    ensure!(
        device.kind == "carve-out" && device.address == address && device.aligned,
        "{device:?}"
    );
    let expected = fs::read_to_string(crate::image::digest_path(zoo::PLAIN.name))?;
    ensure!(sha256(&fs::read(&device.node)?) == expected, "other bytes");
    let [claim] = &claims()?[..] else {
        anyhow::bail!("not one claim")
    };
    let block = BLOCK as u64;
    ensure!(
        claim.start == address / block * block
            && claim.last + 1 == (address + device.size).next_multiple_of(block),
        "{claim:x?}"
    );
    unload(module)?;
    before.check()
}

fn the_whole_tree() -> Result<()> {
    let (_, module) = serve()?;
    let mount = mount_source(Path::new("/dev/erodax0"), "dax", "carve-out")?;
    for entry in expectation(zoo::PLAIN.name)? {
        let Some(digest) = &entry.sha256 else {
            continue;
        };
        let path = mount.path().join(entry.path());
        let name = path.display();
        ensure!(sha256(&fs::read(&path)?) == *digest, "{name}: read");
        let size = usize::try_from(entry.size.context("no size")?)?;
        if size > 0 {
            let map = Mapping::read_only(File::open(&path)?, size)?;
            let (content, tail) = map.bytes().split_at(size);
            ensure!(sha256(content) == *digest, "{name}: mapped");
            ensure!(tail.iter().all(|byte| *byte == 0), "{name}: its last page");
        }
    }
    mount.unmount()?;
    unload(module)
}

/// Images that are not a whole number of blocks share the block where they meet.
fn two_in_one_block() -> Result<()> {
    let first = put(GOOD, CARVE_OUT)?.next_multiple_of(PAGE as u64);
    let second = put(GOOD, CARVE_OUT + first)?;
    let parameters = format!(
        "region={:#x},{second},{CARVE_OUT:#x},{first}",
        CARVE_OUT + first
    );
    let module = load(&parameters)?;
    ensure!(claims()?.len() == 1, "{:x?}", claims()?);
    for number in 0..2 {
        let node = format!("/dev/erodax{number}");
        let mount = mount_source(Path::new(&node), "dax", "shared")?;
        ensure!(mount.path().join("hello").exists());
        mount.unmount()?;
    }
    unload(module)
}

fn mapped_by_huge_pages() -> Result<()> {
    with_big(|file, whole| {
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let before = huge_pages()?;
            let map = Mapping::new(file, 0, whole.len(), ProtFlags::READ, flags)?;
            ensure!(map.bytes().as_ptr() as usize % BLOCK == 0, "the address");
            ensure!(map.touch(BLOCK / 2) == whole[BLOCK / 2]);
            ensure!(huge_pages()? == before + 1, "{flags:?}: no huge page");
            ensure!(map.bytes()[..whole.len()] == *whole, "{flags:?}");
            // The rest of the file is less than a block.
            ensure!(huge_pages()? == before + 1, "{flags:?}: too many");
            drop(map);
            ensure!(huge_pages()? == before, "{flags:?}: one is left");
        }
        // From the middle of the block on nothing of it can be mapped so.
        let from = BLOCK / 2;
        let map = Mapping::new(file, from as u64, BLOCK, ProtFlags::READ, MapFlags::PRIVATE)?;
        ensure!(
            map.bytes() == &whole[from..from + BLOCK],
            "from the middle on"
        );
        Ok(())
    })
}

/// MADV_NOHUGEPAGE.
fn huge_pages_at_will() -> Result<()> {
    with_big(|file, whole| {
        let before = huge_pages()?;
        let mut map = Mapping::read_only(file, whole.len())?;
        map.advise(0..BLOCK, Advice::LinuxNoHugepage)?;
        ensure!(map.bytes()[..whole.len()] == *whole, "by small pages");
        ensure!(huge_pages()? == before, "a huge page against the advice");
        Ok(())
    })
}

fn copies_take_only_their_page() -> Result<()> {
    const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
    with_big(|file, whole| {
        for is_read_first in [true, false] {
            let before = huge_pages()?;
            let mut map = Mapping::new(file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
            if is_read_first {
                ensure!(map.touch(0) == whole[0] && huge_pages()? == before + 1);
            }
            let at = 77 * PAGE + 5;
            map.bytes_mut()[at] = !whole[at];
            ensure!(huge_pages()? == before, "a copy in a huge page");
            ensure!(map.bytes()[..at] == whole[..at], "before the copy");
            ensure!(map.touch(at) == !whole[at]);
            ensure!(
                map.bytes()[at + 1..whole.len()] == whole[at + 1..],
                "after the copy"
            );
            let other = Mapping::read_only(file, whole.len())?;
            ensure!(other.bytes()[..whole.len()] == *whole, "another mapping");
        }
        Ok(())
    })
}

/// Unmapping, protecting and dropping parts of a block, and fork.
fn undone_in_parts() -> Result<()> {
    with_big(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(0) == whole[0] && huge_pages()? > 0);
        let (before, after) = map.punch(10 * PAGE..12 * PAGE)?;
        ensure!(before.bytes() == &whole[..10 * PAGE], "before the hole");
        let rest = whole.len() - 12 * PAGE;
        ensure!(
            after.bytes()[..rest] == whole[12 * PAGE..],
            "after the hole"
        );
        drop((before, after));

        let mut map = Mapping::read_only(file, whole.len())?;
        ensure!(map.touch(0) == whole[0]);
        map.protect(
            3 * PAGE..4 * PAGE,
            MprotectFlags::READ | MprotectFlags::WRITE,
        )?;
        map.bytes_mut()[3 * PAGE] = !whole[3 * PAGE];
        ensure!(map.touch(3 * PAGE - 1) == whole[3 * PAGE - 1]);
        let child = in_child(|| {
            ensure!(map.touch(3 * PAGE) == !whole[3 * PAGE]);
            ensure!(map.bytes()[4 * PAGE..whole.len()] == whole[4 * PAGE..]);
            Ok(())
        })?;
        ensure!(child.success(), "{child}");
        for part in [0..BLOCK, 5 * PAGE..6 * PAGE, 0..BLOCK] {
            map.advise(part, Advice::LinuxDontNeed)?;
            ensure!(map.bytes()[..whole.len()] == *whole, "dropped");
        }
        for advice in [Advice::LinuxCold, Advice::LinuxPageOut] {
            map.advise(0..BLOCK, advice)?;
            map.advise(5 * PAGE..6 * PAGE, advice)?;
            ensure!(map.bytes()[..whole.len()] == *whole, "{advice:?}");
        }
        Ok(())
    })
}

fn read_by_the_kernel() -> Result<()> {
    with_big(|file, whole| {
        let map = Mapping::read_only(file, whole.len())?;
        let mut copy = vec![0; whole.len()];
        let read = read_own_memory(&map.bytes()[..whole.len()], &mut copy)?;
        ensure!(read == whole.len() && copy == whole, "process_vm_readv");
        let (reader, writer) = pipe()?;
        let spliced = splice_pages(&writer, &map.bytes()[PAGE..9 * PAGE])?;
        ensure!(spliced == 8 * PAGE, "{spliced} bytes");
        drop((map, writer));
        copy.clear();
        File::from(reader).read_to_end(&mut copy)?;
        ensure!(copy == whole[PAGE..9 * PAGE], "vmsplice");
        Ok(())
    })
}

/// Pages in a pipe hold no mount: what is under them must stay all the same.
fn unloading_waits_for_borrowers() -> Result<()> {
    let (_, module) = serve()?;
    let mount = mount_source(Path::new("/dev/erodax0"), "dax", "carve-out")?;
    let whole = fs::read(mount.path().join(BIG))?;
    let map = Mapping::read_only(File::open(mount.path().join(BIG))?, whole.len())?;
    let (reader, writer) = pipe()?;
    ensure!(splice_pages(&writer, &map.bytes()[..PAGE])? == PAGE);
    drop(map);
    mount.unmount()?;

    let mut log = KernelLog::from_now()?;

    let unloading = std::thread::spawn(move || unload(module));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut said = Vec::new();
    while !said.iter().any(|line: &String| line.contains("waiting")) {
        ensure!(Instant::now() < deadline, "nothing is waited for: {said:?}");
        std::thread::sleep(Duration::from_millis(50));
        said.extend(messages(&mut log)?);
    }
    ensure!(!unloading.is_finished() && is_loaded("erodax")?, "unloaded");
    drop(writer);
    let mut back = Vec::new();
    File::from(reader).read_to_end(&mut back)?;
    ensure!(
        back == whole[..PAGE],
        "something else comes out of the pipe"
    );
    unloading.join().ok().context("a panic")??;
    ensure!(claims()?.is_empty(), "{:x?}", claims()?);
    Ok(())
}

fn whole_blocks_of_an_odd_range() -> Result<()> {
    let size = put(GOOD, ODD_BLOCK)?;
    ensure!(size <= BLOCK as u64, "{size} bytes");
    let module = load(&format!("region={ODD_BLOCK:#x},{size}"))?;
    let mount = mount_source(Path::new("/dev/erodax0"), "dax", "odd")?;
    ensure!(mount.path().join("hello").exists());
    mount.unmount()?;
    unload(module)
}

fn odd_edges_are_refused() -> Result<()> {
    for (address, size) in [
        (ODD_BLOCK - PAGE as u64, 2 * PAGE),
        (ODD_BLOCK, BLOCK + 1),
        (ODD_BLOCK - 0x10_0000, PAGE),
    ] {
        check_load_refused(
            &format!("region={address:#x},{size}"),
            Errno::INVAL,
            &[&format!("{address:#x}"), "2M", "memmap="],
        )?;
    }
    Ok(())
}

fn across_the_end() -> Result<()> {
    let last = CARVE_OUT + (128 << 20) - PAGE as u64;
    check_load_refused(
        &format!("region={last:#x},{}", 2 * PAGE),
        Errno::BUSY,
        &["System RAM"],
    )
}

fn used_by_another_driver() -> Result<()> {
    let parameters = format!("mem_address={CARVE_OUT:#x} mem_size=0x100000 record_size=0x4000");
    let needs = module::load("reed_solomon")?;
    let other = Module::insert("ramoops", &parameters).context("ramoops")?;
    let refused = load_refused(
        &format!("region={:#x},64K", CARVE_OUT + 0x10_0000),
        Errno::BUSY,
        &["another driver", "/proc/iomem"],
    );
    drop(other);
    drop(needs);
    refused?;
    let (_, module) = serve()?;
    unload(module)
}

fn leaks_nothing() -> Result<()> {
    let (address, module) = serve()?;
    let size = Device::all()?.first().context("no device")?.size;
    unload(module)?;
    check_no_leak(|| {
        let module = load(&format!("region={address:#x},{size}"))?;
        let mount = mount_source(Path::new("/dev/erodax0"), "dax", "carve-out")?;
        let file = File::open(mount.path().join(BIG))?;
        let length = usize::try_from(file.metadata()?.len())?;
        let map = Mapping::new(
            &file,
            0,
            length,
            ProtFlags::READ,
            MapFlags::SHARED | MapFlags::POPULATE,
        )?;
        drop((map, file));
        mount.unmount()?;
        unload(module)
    })
}
