// SPDX-License-Identifier: GPL-2.0

//! What reserves a file: leases, locks, and paging to it.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::{take_lease, Lease},
    kmsg::KernelLog,
    system::swap_on,
};
use nix::sys::signal::{SigSet, Signal};
use rustix::{
    fs::{flock, FlockOperation, OFlags},
    io::Errno,
};

use super::each;

const FILE: &str = "big";

/// Readers don't break a lease for reading; one for writing is only for who is alone, and tells
/// of readers.
pub(super) fn leases() -> Result<()> {
    let told = SigSet::from(Signal::SIGIO);
    told.thread_block()?;
    each(|root| {
        let path = root.join(FILE);
        let file = File::open(&path)?;
        take_lease(&file, Lease::Read).context("F_RDLCK")?;
        fs::read(&path)?;
        let other = File::open(&path)?;
        let refused = take_lease(&other, Lease::Write);
        let code = refused.as_ref().err().and_then(Errno::from_io_error);
        ensure!(code == Some(Errno::AGAIN), "F_WRLCK: {refused:?}");
        drop(other);
        drop(file);
        let alone = File::open(&path)?;
        take_lease(&alone, Lease::Write).context("F_WRLCK, alone")?;
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
        let mut reader = File::options();
        reader.read(true).custom_flags(nonblocking);
        let refused = reader.open(&path).map(drop);
        let code = refused.as_ref().err().and_then(Errno::from_io_error);
        ensure!(
            code == Some(Errno::WOULDBLOCK),
            "a leased file: {refused:?}"
        );
        ensure!(told.wait()? == Signal::SIGIO);
        drop(alone);
        reader.open(&path).context("after the lease")?;
        Ok(())
    })
}

pub(super) fn whole_file() -> Result<()> {
    each(|root| {
        let (first, second) = (File::open(root.join(FILE))?, File::open(root.join(FILE))?);
        flock(&first, FlockOperation::LockExclusive)?;
        for operation in [
            FlockOperation::NonBlockingLockShared,
            FlockOperation::NonBlockingLockExclusive,
        ] {
            let answer = flock(&second, operation);
            ensure!(
                answer == Err(Errno::WOULDBLOCK),
                "{operation:?}: {answer:?}"
            );
        }
        flock(&first, FlockOperation::LockShared)?;
        flock(&second, FlockOperation::NonBlockingLockShared)?;
        flock(&first, FlockOperation::Unlock)?;
        Ok(flock(&second, FlockOperation::NonBlockingLockExclusive)?)
    })
}

/// Nobody can page to what nobody can write to, and the kernel has nothing to say about it.
pub(super) fn swap_is_refused() -> Result<()> {
    each(|root| {
        let mut log = KernelLog::from_now()?;
        let refused = swap_on(&root.join(FILE));
        let code = refused.as_ref().err().and_then(Errno::from_io_error);
        ensure!(code == Some(Errno::ROFS), "{refused:?}");
        let said = log.lines()?;
        ensure!(said.is_empty(), "{said:?}");
        Ok(())
    })
}
