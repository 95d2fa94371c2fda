// SPDX-License-Identifier: GPL-2.0

//! Workspaces for readers that decode at the same time.
//!
//! One lock, of the list of idle workspaces, which is never held while decoding.

use super::Decoders;
use erodax_format::Algorithms;
use kernel::{
    cpu, new_condvar, new_mutex,
    prelude::*,
    sync::{CondVar, Mutex},
};

/// A larger buffer is freed when its workspace comes back.
const KEPT_BUFFER: usize = 128 << 10;

/// What a reader needs to decode: the state of decoders, and a buffer.
pub(crate) struct Workspace {
    pub(crate) decoders: Decoders,
    buffer: KVVec<u8>,
}

impl Workspace {
    fn new(algorithms: &Algorithms) -> Result<Self> {
        Ok(Self {
            decoders: Decoders::new(algorithms)?,
            buffer: KVVec::new(),
        })
    }

    /// The decoders, and a buffer of `len` bytes with arbitrary contents.
    pub(crate) fn parts(&mut self, len: usize) -> Result<(&mut Decoders, &mut [u8])> {
        if self.buffer.len() < len {
            // The allocator clears it a page at a time, and what the old one has is not needed.
            self.buffer = KVVec::new();
            self.buffer = KVVec::zeroed(len, GFP_KERNEL)?;
        }
        let buffer = self.buffer.get_mut(..len).ok_or(ENOMEM)?;
        Ok((&mut self.decoders, buffer))
    }
}

/// The workspaces of one mounted image: as many as are used at the same time, and no more than
/// there are CPUs while none is.
#[pin_data]
pub(crate) struct Pool {
    algorithms: Algorithms,
    #[pin]
    idle: Mutex<KVec<Workspace>>,
    #[pin]
    returned: CondVar,
}

impl Pool {
    /// Has one workspace from the start, so that there is always one to wait for.
    pub(crate) fn new(algorithms: &Algorithms) -> Result<Pin<KBox<Self>>> {
        let mut idle = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL)?;
        idle.push(Workspace::new(algorithms)?, GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self {
                algorithms: *algorithms,
                idle <- new_mutex!(idle),
                returned <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// A workspace: an idle one, or a new one, or the first one that comes back.
    pub(crate) fn take(&self) -> Lease<'_> {
        let idle = self.idle.lock().pop();
        let workspace = match idle.or_else(|| Workspace::new(&self.algorithms).ok()) {
            Some(workspace) => workspace,
            None => self.wait(),
        };
        Lease {
            pool: self,
            workspace: Some(workspace),
        }
    }

    /// Without memory for a new one: one is always idle, or in use and will be again.
    fn wait(&self) -> Workspace {
        let mut idle = self.idle.lock();
        loop {
            if let Some(workspace) = idle.pop() {
                return workspace;
            }
            self.returned.wait(&mut idle);
        }
    }

    fn put(&self, mut workspace: Workspace) {
        if workspace.buffer.len() > KEPT_BUFFER {
            workspace.buffer = KVVec::new();
        }
        let mut idle = self.idle.lock();
        // One that has no room here is freed, after the lock is.
        let left = idle.push_within_capacity(workspace);
        drop(idle);
        self.returned.notify_one();
        drop(left);
    }
}

/// A workspace in use; goes back when dropped.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// None only while it is dropped.
    workspace: Option<Workspace>,
}

impl Lease<'_> {
    /// See [`Workspace::parts`].
    pub(crate) fn parts(&mut self, len: usize) -> Result<(&mut Decoders, &mut [u8])> {
        self.workspace.as_mut().ok_or(ENOMEM)?.parts(len)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.pool.put(workspace);
        }
    }
}
