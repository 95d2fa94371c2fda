// SPDX-License-Identifier: GPL-2.0

//! Those who want to know what happens to files.

use std::{
    ffi::CString,
    fs::{self, File},
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::system::Child;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use super::{each, OPTIONS};
use crate::{
    erodax::{mount, serve_initrd, unload},
    suites::zoo,
};

/// Events with the names of files, until there are no more.
fn events(inotify: &OwnedFd) -> Result<Vec<(ReadFlags, Option<CString>)>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => events.push((event.events(), event.file_name().map(Into::into))),
            Err(Errno::AGAIN) => return Ok(events),
            Err(error) => return Err(error.into()),
        }
    }
}

/// In a watched directory each use of a file is told; the end of the mount is the last event.
pub(super) fn by_inotify() -> Result<()> {
    let module = serve_initrd()?;
    for options in OPTIONS {
        let mount = mount(zoo::INLINE.name, options)?;
        let inotify = inotify::init(CreateFlags::NONBLOCK)?;
        let used = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&inotify, mount.path().join("sizes"), used)?;
        fs::read(mount.path().join("sizes/4097"))?;
        fs::read(mount.path().join("big"))?;
        let told = events(&inotify)?;
        let name = Some(CString::new("4097")?);
        for kind in [ReadFlags::OPEN, ReadFlags::ACCESS, ReadFlags::CLOSE_NOWRITE] {
            ensure!(told.contains(&(kind, name.clone())), "{kind:?}: {told:?}");
        }
        ensure!(told.iter().all(|(_, other)| *other == name), "{told:?}");
        mount.unmount()?;
        let told = events(&inotify)?;
        let is_told = told
            .iter()
            .any(|(kind, _)| kind.contains(ReadFlags::UNMOUNT));
        ensure!(is_told, "the end of the mount: {told:?}");
    }
    unload(module)
}

fn listener(class: InitFlags) -> Result<Fanotify> {
    let flags = class | InitFlags::FAN_NONBLOCK | InitFlags::FAN_CLOEXEC;
    Ok(Fanotify::init(flags, EventFFlags::O_RDONLY)?)
}

/// Each use of any file of a mount, with the file.
pub(super) fn by_fanotify() -> Result<()> {
    each(|root| {
        let group = listener(InitFlags::FAN_CLASS_NOTIF)?;
        let used = MaskFlags::FAN_OPEN | MaskFlags::FAN_ACCESS | MaskFlags::FAN_CLOSE_NOWRITE;
        let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT;
        group.mark(mark, used, rustix::fs::CWD, Some(root))?;
        let path = root.join("big");
        fs::read(&path)?;
        let mut seen = MaskFlags::empty();
        for event in group.read_events()? {
            let file = event.fd().context("no descriptor")?;
            let named = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            ensure!(named == path, "{}", named.display());
            seen |= event.mask();
        }
        ensure!(seen.contains(used), "{seen:?}");
        Ok(())
    })
}

/// A whole filesystem can be watched if its files have handles and it has a number of its own.
pub(super) fn of_the_whole_filesystem() -> Result<()> {
    /// Not among nix's flags yet.
    const FAN_REPORT_FID: u32 = 0x200;
    each(|root| {
        let group =
            listener(InitFlags::FAN_CLASS_NOTIF | InitFlags::from_bits_retain(FAN_REPORT_FID))?;
        let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        group
            .mark(mark, MaskFlags::FAN_OPEN, rustix::fs::CWD, Some(root))
            .context("FAN_MARK_FILESYSTEM")?;
        fs::read(root.join("big"))?;
        let told = group.read_events()?;
        ensure!(told.len() == 1, "{} events", told.len());
        ensure!(told[0].mask().contains(MaskFlags::FAN_OPEN));
        Ok(())
    })
}

/// Somebody who is asked may say no.
pub(super) fn asked_for_permission() -> Result<()> {
    each(|root| {
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY)?;
        let path = root.join("big");
        let mask = MaskFlags::FAN_OPEN_PERM;
        group.mark(MarkFlags::FAN_MARK_ADD, mask, rustix::fs::CWD, Some(&path))?;
        for (response, expected) in [
            (Response::FAN_DENY, Err(Some(Errno::PERM))),
            (Response::FAN_ALLOW, Ok(())),
        ] {
            let child = Child::start(|| {
                let opened = File::open(&path).map(drop);
                let opened = opened.map_err(|error| Errno::from_io_error(&error));
                ensure!(opened == expected, "{opened:?}, not {expected:?}");
                Ok(())
            })?;
            let asked = group.read_events()?;
            let event = asked.first().context("nobody asks")?;
            let file = event.fd().context("no descriptor")?;
            group.write_response(FanotifyResponse::new(file, response))?;
            let status = child.wait()?;
            ensure!(status.success(), "{status}");
        }
        Ok(())
    })
}
