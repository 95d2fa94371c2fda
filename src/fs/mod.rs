// SPDX-License-Identifier: GPL-2.0

//! The EROFS driver: a mounted image, in safe code.

mod claims;
mod compressed;
mod data;
mod dir;
mod error;
mod identity;
mod inode;
mod options;
mod sysfs;
mod volume;
mod xattr;

use crate::dax::View;
use crate::vfs::{
    self, Attribute, Attributes, Context, DaxExtent, DeviceNumber, Emitter, Extent, Fault,
    FileSystem, NameList, Namespace, NewInode, Outcome, Writer,
};
use claims::Claims;
use core::ops::Range;
use erodax_format::{
    dir::NAME_MAX,
    inode::FileType,
    superblock::SuperBlock,
    xattr::{Prefix, Prefixes},
};
use identity::Identity;
use kernel::{
    iov::IovIterDest,
    page::{BorrowedPage, Page},
    prelude::*,
    seq_file::SeqFile,
    str::{BStr, CStrExt, CString},
};
use options::{Dax, Options};
use volume::Devices;

/// `EROFS_SUPER_MAGIC_V1`, which statfs(2) shows.
const MAGIC: u32 = 0xe0f5_e1e2;

static EROFS: vfs::FileSystemType<Erofs> = vfs::FileSystemType::new();

/// Registers the filesystem type under the name that the user chose.
pub(crate) fn register(name: &'static CStr) -> Result<vfs::Registration<Erofs>> {
    let shown = BStr::from_bytes(name.to_bytes());
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    if name.is_empty() || !name.to_bytes().iter().all(is_plain) {
        pr_err!(
            "fstype={} is no name for a filesystem type: use letters and digits\n",
            shown
        );
        return Err(EINVAL);
    }
    EROFS.register(name).inspect_err(|error| {
        if *error == EBUSY {
            pr_err!(
                "the filesystem type {} is registered already: unload its module, or load \
                 with fstype=NAME and mount with -t NAME\n",
                shown
            );
        }
    })
}

/// One mounted image.
pub(crate) struct Erofs {
    devices: Devices,
    sb: SuperBlock,
    /// Long prefixes of xattr names.
    prefixes: KVec<Prefix>,
    options: Options,
    /// Whose pages are mapped through `fs/dax.c`.
    claims: Claims,
    /// What mappings of holes show: a page of zeros.
    zero_page: Page,
    /// The mount's source, for messages.
    source: CString,
    /// What trace events name it by.
    device_number: DeviceNumber,
}

impl Erofs {
    /// Whether files are mapped from memory where they lie at pages.
    fn maps_directly(&self) -> bool {
        self.options.dax != Dax::Never && self.devices.are_mappable()
    }

    /// Whether pages of other drivers' DAX devices are mapped through `fs/dax.c`.
    ///
    /// It records the one file that has a page, and 2 MiB can be one page to it: so this is for
    /// images in which no two files share blocks. In images with chunk-based files they do; there
    /// pages are mapped one by one, without a record.
    fn maps_through_dax(&self) -> bool {
        let is_shared = self.sb.has_chunked_files() || self.sb.extra_devices() != 0;
        self.maps_directly() && self.devices.are_fsdax() && !is_shared
    }
}

/// What is to be mounted.
fn source_of<'a>(context: &'a Context<'_>) -> Result<&'a CStr> {
    let source = context.source().filter(|source| !source.is_empty());
    source.ok_or_else(|| {
        context.error(fmt!(
            "no source given: mount one of /dev/erodaxN, or a DAX device"
        ));
        EINVAL
    })
}

impl FileSystem for Erofs {
    type Inode = inode::Inode;
    type Options = Options;
    type Identity = Identity;

    const ATTRIBUTES: &'static [Attribute<Self>] = sysfs::ATTRIBUTES;

    fn set_option(
        options: &mut Options,
        context: &Context<'_>,
        key: &CStr,
        value: Option<&CStr>,
    ) -> Result {
        options.set(context, key, value)
    }

    fn identity(context: &Context<'_>, options: &Options) -> Result<Identity> {
        Identity::of(context, source_of(context)?, options)
    }

    fn mount(context: &Context<'_>, sb: vfs::SuperBlock, options: Options) -> Result<Self> {
        let (claimer, device_number) = (sb, sb.number());
        let source = source_of(context)?;
        let (devices, sb) = Devices::open(context, source, claimer, &options)?;
        let mut prefixes = KVec::new();
        for prefix in Prefixes::new(&devices, &sb) {
            let prefix = prefix.map_err(|error| {
                let shown = BStr::from_bytes(source.to_bytes());
                context.error(fmt!("{}: {}", shown, format_args!("{error}")));
                error::errno(error)
            })?;
            prefixes.push(prefix, GFP_KERNEL)?;
        }
        let fs = Self {
            devices,
            sb,
            prefixes,
            options,
            claims: Claims::new()?,
            zero_page: vfs::new_page(|_| Ok(()))?,
            source: source.to_cstring()?,
            device_number,
        };
        let root = fs.read_inode(fs.sb.root_nid())?;
        if root.file_type() != FileType::Directory {
            context.error(fmt!("{}: the root is no directory", fs.source_name()));
            return Err(EINVAL);
        }
        Ok(fs)
    }

    fn reconfigure(&self, context: &Context<'_>, options: &Options) -> Result {
        let Some(changed) = options.change_of(&self.options) else {
            return Ok(());
        };
        context.error(fmt!(
            "{}: {} cannot be changed while mounted: unmount first",
            self.source_name(),
            changed
        ));
        Err(EINVAL)
    }

    fn shut_down(&self) {
        self.devices.views().for_each(View::shut_down);
    }

    fn wait_until_returned(&self) {
        self.devices.views().for_each(View::wait_until_returned);
    }

    fn parameters(&self) -> vfs::SuperParameters {
        vfs::SuperParameters {
            magic: MAGIC,
            block_bits: self.sb.block_bits(),
            uuid: *self.sb.uuid(),
            has_acls: self.options.has_acls(),
            root: self.sb.root_nid(),
        }
    }

    fn statistics(&self) -> vfs::Statistics {
        vfs::Statistics {
            blocks: self.sb.total_blocks(),
            inodes: self.sb.inodes(),
            name_len: NAME_MAX as u32,
        }
    }

    fn show_options(&self, out: &SeqFile) {
        self.options.show(out, !self.sb.algorithms().is_empty());
    }

    #[inline(always)]
    fn inode(&self, key: u64) -> Result<NewInode<inode::Inode>> {
        self.new_inode(key)
    }

    fn inode_number(&self, key: u64) -> u64 {
        self.sb.inode_number(key)
    }

    fn lookup(&self, dir: &inode::Inode, name: &[u8]) -> Result<Option<u64>> {
        self.look_up(dir, name)
    }

    fn read_dir(&self, dir: &inode::Inode, out: &mut Emitter<'_>) -> Result {
        self.list(dir, out)
    }

    fn read(
        &self,
        inode: &inode::Inode,
        position: u64,
        out: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        self.read_data(inode, position, out)
    }

    fn extent(&self, inode: &inode::Inode, position: u64) -> Result<Extent> {
        self.place_at(inode, position)
    }

    fn xattr(
        &self,
        inode: &inode::Inode,
        namespace: Namespace,
        name: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        self.get_xattr(inode, namespace, name, out)
    }

    fn list_xattrs(&self, inode: &inode::Inode, out: &mut NameList<'_>) -> Result {
        self.list_names(inode, out)
    }

    fn attributes(&self, inode: &inode::Inode) -> Attributes {
        Attributes {
            is_compressed: inode.disk.layout.is_compressed(),
            is_direct: inode.is_direct,
        }
    }

    fn label(&self) -> &[u8] {
        self.sb.volume_name()
    }

    fn fault(&self, inode: &inode::Inode, fault: &mut Fault<'_>) -> Outcome {
        self.map_data(inode, fault)
    }

    fn dax_extent(&self, inode: &inode::Inode, position: u64, len: u64) -> Option<DaxExtent> {
        self.extent_of_device(inode, position, len)
    }

    fn page<'a>(&'a self, inode: &'a inode::Inode, index: u64) -> Option<BorrowedPage<'a>> {
        self.page_of(inode, index)
    }

    fn fill(&self, inode: &inode::Inode, out: &mut impl Writer) -> Result {
        self.fill_data(inode, out)
    }

    fn together(&self, inode: &inode::Inode, wanted: Range<u64>) -> Range<u64> {
        self.filled_together(inode, wanted)
    }

    fn start(&self, sb: vfs::FilledSuperBlock<'_, Self>) -> Result {
        let Some(compressed) = &self.devices.compressed else {
            return Ok(());
        };
        let specials = [
            (self.sb.packed(), &compressed.packed),
            (self.sb.metabox().ok(), &compressed.metabox),
        ];
        for (inode, own) in specials {
            if let Some(inode) = inode.filter(|inode| inode.layout.is_compressed()) {
                own.get(&sb, inode.nid)?;
            }
        }
        Ok(())
    }

    fn stop(&self) {
        if let Some(compressed) = &self.devices.compressed {
            compressed.packed.drop();
            compressed.metabox.drop();
        }
    }
}
