// SPDX-License-Identifier: GPL-2.0

//! The EROFS driver: a mounted image, in safe code.

mod data;
mod dir;
mod error;
mod inode;
mod options;

use crate::{
    dax::View,
    vfs::{self, Attributes, Context, Emitter, Extent, Fault, FileSystem, NewInode, Outcome},
};
use erodax_format::{dir::NAME_MAX, inode::FileType, superblock::SuperBlock};
use kernel::{
    iov::IovIterDest,
    page::{BorrowedPage, PAGE_SIZE},
    prelude::*,
    seq_file::{seq_print, SeqFile},
    str::{BStr, CString},
};
use options::{Dax, Options};

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
    view: View,
    sb: SuperBlock,
    options: Options,
    /// The mount's source, for messages.
    source: CString,
}

impl Erofs {
    /// The source's view, if the options allow to mount what lies there.
    fn open(context: &Context<'_>, source: &CStr, options: &Options) -> Result<(View, SuperBlock)> {
        let shown = BStr::from_bytes(source.to_bytes());
        let view = View::open(source, context.credentials()).map_err(|error| {
            context.error(fmt!("{}: {}", shown, error));
            error.errno()
        })?;
        let sb = SuperBlock::read(&*view).map_err(|error| {
            context.error(fmt!("{}: {}", shown, format_args!("{error}")));
            error::errno(error)
        })?;
        if options.dax == Dax::Always {
            if !view.is_aligned() {
                context.error(fmt!(
                    "{}: the image begins {} bytes into a page, so -o dax cannot map it: put \
                     it at a multiple of {} (`erodax pack` does), or mount without dax",
                    shown,
                    view.offset_in_page(),
                    PAGE_SIZE
                ));
                return Err(EINVAL);
            }
            if sb.block_size() as usize != PAGE_SIZE {
                context.error(fmt!(
                    "{}: blocks of {} bytes, so -o dax cannot map them: make the image with \
                     -b{}, or mount without dax",
                    shown,
                    sb.block_size(),
                    PAGE_SIZE
                ));
                return Err(EINVAL);
            }
        }
        Ok((view, sb))
    }

    /// Whether files are mapped from memory where they lie at pages.
    fn maps_directly(&self) -> bool {
        self.options.dax != Dax::Never && self.view.is_aligned()
    }
}

impl FileSystem for Erofs {
    type Inode = inode::Inode;
    type Options = Options;

    fn set_option(
        options: &mut Options,
        context: &Context<'_>,
        key: &CStr,
        value: Option<&CStr>,
    ) -> Result {
        options.set(context, key, value)
    }

    fn mount(context: &Context<'_>, options: &Options) -> Result<Self> {
        let Some(source) = context.source() else {
            context.error(fmt!("no source given: mount one of /dev/erodaxN"));
            return Err(EINVAL);
        };
        let (view, sb) = Self::open(context, source, options)?;
        let fs = Self {
            view,
            sb,
            options: *options,
            source: source.to_cstring()?,
        };
        let root = fs.read_inode(fs.sb.root_nid())?;
        if root.file_type() != FileType::Directory {
            context.error(fmt!("{}: the root is no directory", fs.source_name()));
            return Err(EINVAL);
        }
        Ok(fs)
    }

    fn reconfigure(&self, context: &Context<'_>, options: &Options) -> Result {
        if options.dax != Dax::default() && options.dax != self.options.dax {
            context.error(fmt!(
                "{}: dax cannot be changed while mounted: unmount first",
                self.source_name()
            ));
            return Err(EINVAL);
        }
        Ok(())
    }

    fn parameters(&self) -> vfs::SuperParameters {
        vfs::SuperParameters {
            magic: MAGIC,
            block_bits: self.sb.block_bits(),
            uuid: *self.sb.uuid(),
            has_acls: false,
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
        match self.options.dax {
            Dax::Auto => {}
            Dax::Always => seq_print!(out, ",dax=always"),
            Dax::Never => seq_print!(out, ",dax=never"),
        }
    }

    fn inode(&self, number: u64) -> Result<NewInode<inode::Inode>> {
        self.new_inode(number)
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
        self.extent_at(inode, position)
    }

    fn xattr(&self, _inode: &inode::Inode, _ns: vfs::Namespace, _name: &[u8], _out: &mut [u8]) -> Result<usize> {
        Err(ENODATA)
    }

    fn list_xattrs(&self, _inode: &inode::Inode, _out: &mut vfs::NameList<'_>) -> Result {
        Ok(())
    }

    fn attributes(&self, inode: &inode::Inode) -> Attributes {
        Attributes {
            is_compressed: false,
            is_direct: inode.direct.is_some(),
        }
    }

    fn label(&self) -> &[u8] {
        self.sb.volume_name()
    }

    fn fault(&self, inode: &inode::Inode, fault: &mut Fault<'_>) -> Outcome {
        self.map_data(inode, fault)
    }

    fn page<'a>(&'a self, inode: &'a inode::Inode, index: u64) -> Option<BorrowedPage<'a>> {
        self.view.page(inode.direct?.run(), index)
    }

    fn fill(&self, inode: &inode::Inode, position: u64, out: &mut [u8]) -> Result {
        self.fill_data(inode, position, out)
    }
}
