// SPDX-License-Identifier: GPL-2.0

//! The VFS and MM interfaces that the `kernel` crate lacks, for a read-only filesystem.
//!
//! A filesystem is a type that implements [`FileSystem`], in safe code; everything that the C
//! side demands — tables of functions, reference counts, the life of inodes — is kept here.
//!
//! Locks: none of our own. The VFS calls `lookup` and `read_dir` with the directory's
//! `i_rwsem` held shared, `inode` with the new inode locked by `I_NEW`, `fill` with the folio
//! locked, and `fault` with the VMA lock or the mmap lock.

mod cached;
mod context;
mod dir;
mod export;
mod extent;
mod fault;
mod file;
mod folio;
mod inode;
mod iomap;
mod log;
mod page;
mod registration;
mod signal;
mod splice;
mod stat;
mod super_block;
mod sysfs;
pub(crate) mod trace;
mod xattr;

pub(crate) use cached::OwnInode;
pub(crate) use context::Context;
pub(crate) use dir::Emitter;
pub(crate) use extent::{Extent, Form, Place};
pub(crate) use fault::{map_readonly, position_of, Fault, FaultHandler, Outcome, VmOperations};
pub(crate) use folio::Writer;
pub(crate) use inode::{Delivery, NewInode};
pub(crate) use iomap::DaxExtent;
pub(crate) use log::may_log;
pub(crate) use page::new_page;
pub(crate) use registration::{FileSystemType, Registration};
pub(crate) use signal::is_killed;
pub(crate) use stat::Attributes;
pub(crate) use super_block::{Statistics, SuperBlock, SuperParameters};
pub(crate) use sysfs::Attribute;
pub(crate) use trace::DeviceNumber;
pub(crate) use xattr::{NameList, Namespace};

use core::ops::Range;
use kernel::{iov::IovIterDest, page::BorrowedPage, prelude::*, seq_file::SeqFile};

/// A read-only filesystem; the value is one mounted instance.
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// What the filesystem keeps with each inode.
    type Inode: Send + Sync + 'static;
    /// Mount options as far as they are parsed.
    type Options: Default + Send + 'static;
    /// What a superblock is known by: mounts with the same one share it. The comparison must not
    /// sleep.
    type Identity: PartialEq + Send + Sync + 'static;

    /// What sysfs shows of each superblock.
    const ATTRIBUTES: &'static [Attribute<Self>];

    /// Takes one option in; `value` is what stands behind the `=`.
    fn set_option(
        options: &mut Self::Options,
        context: &Context<'_>,
        key: &CStr,
        value: Option<&CStr>,
    ) -> Result;

    /// What would be mounted, and how.
    fn identity(context: &Context<'_>, options: &Self::Options) -> Result<Self::Identity>;

    /// Opens the context's source, for a superblock that is new.
    fn mount(context: &Context<'_>, sb: SuperBlock, options: Self::Options) -> Result<Self>;

    /// Whether a mounted instance can go on with other options.
    fn reconfigure(&self, context: &Context<'_>, options: &Self::Options) -> Result;

    /// A device below goes: from now on none of its pages may be mapped.
    fn shut_down(&self);

    /// Waits for pages of devices that were mapped by [`FileSystem::fault`], and are not any
    /// more, until nobody has them pinned.
    fn wait_until_returned(&self);

    /// What the superblock has to say.
    fn parameters(&self) -> SuperParameters;

    /// What statfs says.
    fn statistics(&self) -> Statistics;

    /// Writes `,option=value` for each option in force.
    fn show_options(&self, out: &SeqFile);

    /// Reads the inode with a key: whatever the filesystem finds it by.
    fn inode(&self, key: u64) -> Result<NewInode<Self::Inode>>;

    /// The number that user space sees for a key.
    fn inode_number(&self, key: u64) -> u64;

    /// Key of the inode that a name in a directory stands for, if there is one.
    fn lookup(&self, dir: &Self::Inode, name: &[u8]) -> Result<Option<u64>>;

    /// Emits entries from the emitter's position on, until it is full or there are no more.
    fn read_dir(&self, dir: &Self::Inode, out: &mut Emitter<'_>) -> Result;

    /// Copies a file's bytes from `position` on; returns how many, 0 at its end.
    fn read(&self, inode: &Self::Inode, position: u64, out: &mut IovIterDest<'_>) -> Result<usize>;

    /// Where a regular file's or directory's bytes from `position` on lie; `position` is before
    /// its end.
    fn extent(&self, inode: &Self::Inode, position: u64) -> Result<Extent>;

    /// What statx(2) says of an inode.
    fn attributes(&self, inode: &Self::Inode) -> Attributes;

    /// Copies the value of an extended attribute; returns its length. `ENODATA` if there is no
    /// such attribute, `ERANGE` if `out` is too short for it, unless it is empty.
    fn xattr(
        &self,
        inode: &Self::Inode,
        namespace: Namespace,
        name: &[u8],
        out: &mut [u8],
    ) -> Result<usize>;

    /// Lists the extended attributes.
    fn list_xattrs(&self, inode: &Self::Inode, out: &mut NameList<'_>) -> Result;

    /// The volume's label; empty if there is none.
    fn label(&self) -> &[u8];

    /// Answers a page fault in a mapping of a file that is mapped from memory.
    fn fault(&self, inode: &Self::Inode, fault: &mut Fault<'_>) -> Outcome;

    /// What `fs/dax.c` may map of a file with `S_DAX` from `position` on, of which `len` bytes
    /// are asked for; None if the page there is for [`FileSystem::fault`].
    fn dax_extent(&self, inode: &Self::Inode, position: u64, len: u64) -> Option<DaxExtent>;

    /// Page `index` of a file if it is a page of memory as it lies.
    fn page<'a>(&'a self, inode: &'a Self::Inode, index: u64) -> Option<BorrowedPage<'a>>;

    /// Writes a file's bytes to the page cache, zeros after its end.
    fn fill(&self, inode: &Self::Inode, out: &mut impl Writer) -> Result;

    /// The bytes that are best written together with these, which are before the file's end.
    fn together(&self, inode: &Self::Inode, wanted: Range<u64>) -> Range<u64>;

    /// The superblock is filled in, so that inodes can be got.
    fn start(&self, sb: SuperBlock) -> Result;

    /// The superblock ends: lets the filesystem's own inodes go.
    fn stop(&self);
}
