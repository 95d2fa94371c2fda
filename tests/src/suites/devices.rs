// SPDX-License-Identifier: GPL-2.0

//! The character devices and their attributes.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, FileTypeExt},
    path::Path,
};

use anyhow::{ensure, Result};
use erodax_agent::guest::mapping::{MapFlags, Mapping, MprotectFlags, ProtFlags};
use rustix::io::Errno;

use crate::{
    erodax::{image_range, serve_initrd, unload, Device, GOOD},
    expectation::sha256,
    image::{Content, Image, BUILD_TIME},
    suites::zoo,
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "devices",
    machine: Machine {
        images: &[Image::good(GOOD, Content::Small), zoo::INLINE],
        ..Machine::RETAINING
    },
    tests: tests![
        attributes,
        read,
        positioned_reads,
        seek,
        mapping,
        nothing_can_be_written
    ],
};

fn with_device(body: impl FnOnce(&Device, File) -> Result<()>) -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(zoo::INLINE.name)?;
    body(&device, File::open(&device.node)?)?;
    unload(module)
}

fn attributes() -> Result<()> {
    let range = image_range(zoo::INLINE.name)?;
    with_device(|device, mut file| {
        ensure!(device.node == Path::new("/dev/erodax1"), "{device:?}");
        ensure!(
            (device.address, device.size) == range,
            "{device:x?}, the packer says {range:x?}"
        );
        ensure!(device.kind == "initrd", "{device:?}");
        ensure!(
            device.aligned && device.offset == 0 && device.address % 4096 == 0,
            "{device:?}"
        );
        ensure!(fs::metadata(&device.node)?.file_type().is_char_device());
        ensure!(file.seek(SeekFrom::End(0))? == device.size);
        let attributes = format!("/sys/class/erodax/erodax1/{}", "size");
        ensure!(fs::metadata(attributes)?.permissions().readonly());
        Ok(())
    })
}

/// The whole image, as the host made it.
fn read() -> Result<()> {
    let expected = fs::read_to_string(crate::image::digest_path(zoo::INLINE.name))?;
    with_device(|device, mut file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        ensure!(
            bytes.len() as u64 == device.size,
            "{} of {} bytes",
            bytes.len(),
            device.size
        );
        ensure!(sha256(&bytes) == expected, "the content is not the image's");
        ensure!(
            bytes[1024..1028] == 0xE0F5_E1E2_u32.to_le_bytes(),
            "no superblock"
        );
        ensure!(
            bytes[1048..1056] == BUILD_TIME.to_le_bytes(),
            "not the build time"
        );
        Ok(())
    })
}

fn positioned_reads() -> Result<()> {
    with_device(|device, mut file| {
        let mut whole = Vec::new();
        file.read_to_end(&mut whole)?;
        for (offset, length) in [
            (0, 1),
            (1, 4096),
            (4095, 2),
            (4097, 8191),
            (1024, 128),
            (123_457, 65_537),
        ] {
            let mut part = vec![0; length];
            file.read_exact_at(&mut part, offset as u64)?;
            ensure!(
                part == whole[offset..offset + length],
                "{length} bytes at {offset}"
            );
        }
        let mut part = [0; 100];
        ensure!(
            file.read_at(&mut part, device.size - 10)? == 10,
            "not cut off at the end"
        );
        ensure!(part[..10] == whole[whole.len() - 10..]);
        for beyond in [device.size, device.size + 1, i64::MAX as u64 - 100] {
            ensure!(file.read_at(&mut part, beyond)? == 0, "bytes at {beyond}");
        }
        Ok(())
    })
}

fn seek() -> Result<()> {
    with_device(|device, mut file| {
        let end = i64::try_from(device.size)?;
        ensure!(file.seek(SeekFrom::End(-1))? == device.size - 1);
        ensure!(file.read(&mut [0; 2])? == 1);
        ensure!(file.stream_position()? == device.size);
        ensure!(file.seek(SeekFrom::Current(-end))? == 0);
        ensure!(file.seek(SeekFrom::Start(1024))? == 1024);
        let negative = file
            .seek(SeekFrom::End(-end - 1))
            .map_err(|error| Errno::from_io_error(&error));
        ensure!(negative == Err(Some(Errno::INVAL)), "{negative:?}");
        ensure!(file.stream_position()? == 1024, "moved by a failed seek");
        Ok(())
    })
}

fn mapping() -> Result<()> {
    with_device(|device, mut file| {
        let size = usize::try_from(device.size)?;
        let mut whole = Vec::new();
        file.read_to_end(&mut whole)?;
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let map = Mapping::new(&file, 0, size, ProtFlags::READ, flags)?;
            ensure!(
                map.bytes()[..size] == whole,
                "{flags:?} shows something else"
            );
        }
        let middle = Mapping::new(&file, 8192, 4096, ProtFlags::READ, MapFlags::SHARED)?;
        ensure!(middle.bytes() == &whole[8192..12288], "wrong offset");
        Ok(())
    })
}

fn nothing_can_be_written() -> Result<()> {
    with_device(|device, file| {
        let mut first = [0; 4096];
        file.read_exact_at(&mut first, 0)?;
        if let Ok(mut writable) = OpenOptions::new().read(true).write(true).open(&device.node) {
            ensure!(writable.write(b"x").is_err(), "write succeeds");
            let write = ProtFlags::READ | ProtFlags::WRITE;
            let shared = Mapping::new(&writable, 0, 4096, write, MapFlags::SHARED);
            ensure!(shared.is_err(), "a writable shared mapping");
            // May be refused at once: it could be made writable later.
            if let Ok(mut shared) =
                Mapping::new(&writable, 0, 4096, ProtFlags::READ, MapFlags::SHARED)
            {
                let write = MprotectFlags::READ | MprotectFlags::WRITE;
                ensure!(
                    shared.protect(0..4096, write).is_err(),
                    "made writable later"
                );
            }
        }
        let mut now = [0; 4096];
        file.read_exact_at(&mut now, 0)?;
        ensure!(now == first);
        Ok(())
    })
}
