/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads to make `bindings_generated.rs`: only what the kernel
 * crate's own bindings lack (see `bindgen_allow`).
 */
#include <linux/blkdev.h>
#include <linux/dax.h>
#include <linux/exportfs.h>
#include <linux/fadvise.h>
#include <linux/fiemap.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/iomap.h>
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/posix_acl.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/statfs.h>
#include <linux/vmalloc.h>
#include <linux/xz.h>
#include <linux/zlib.h>
#include <linux/zstd.h>

#include "erodax_trace.h"
#include "helpers.h"

/* Macros that bindgen cannot evaluate; Kbuild strips the prefix. */
static const unsigned long ERODAX_CONST_SB_RDONLY = SB_RDONLY;
static const dev_t ERODAX_CONST_FIRST_NAMED_DEVICE = MKDEV(UNNAMED_MAJOR + 1, 0);
static const unsigned long ERODAX_CONST_SB_ACTIVE = SB_ACTIVE;
static const unsigned long ERODAX_CONST_SB_POSIXACL = SB_POSIXACL;
static const unsigned long ERODAX_CONST_SB_NOATIME = SB_NOATIME;
static const unsigned long ERODAX_CONST_VM_LOCKED = VM_LOCKED;
static const unsigned long ERODAX_CONST_VM_SEQ_READ = VM_SEQ_READ;
static const unsigned int ERODAX_CONST_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
static const unsigned int ERODAX_CONST_FS_IOC_GETFSLABEL_COMMAND = FS_IOC_GETFSLABEL;
static const fmode_t ERODAX_CONST_FMODE_NOREUSE = FMODE_NOREUSE;
static const fmode_t ERODAX_CONST_FMODE_CAN_ODIRECT = FMODE_CAN_ODIRECT;
static const blk_mode_t ERODAX_CONST_BLK_OPEN_READ = BLK_OPEN_READ;
static const long long ERODAX_CONST_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
static const unsigned int ERODAX_CONST_INODE_CACHE_FLAGS = SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT;
