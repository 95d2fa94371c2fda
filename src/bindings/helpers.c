// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the module: wrappers of inline functions and macros, and the two
 * string parameters, which the kernel crate's `module!` does not offer.
 */
#include <linux/blkdev.h>
#include <linux/dax.h>
#include <linux/fs_struct.h>
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/posix_acl_xattr.h>
#include <linux/ratelimit.h>
#include <linux/sched/signal.h>

#include "helpers.h"

static char *region;
module_param(region, charp, 0400);
MODULE_PARM_DESC(region,
		 "memory to serve: ADDR,SIZE[,ADDR,SIZE...] (sizes take K, M, G) or \"initrd\" for every EROFS image in the retained initrd");

static char *fstype = "erofs";
module_param(fstype, charp, 0444);
MODULE_PARM_DESC(fstype, "name to register the filesystem type under (default: erofs)");

const char *erodax_param_region(void)
{
	return region;
}

const char *erodax_param_fstype(void)
{
	return fstype;
}

struct page *erodax_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

unsigned long erodax_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

/* The first page before `end` that is not the boot code's any more, reserved and not given back. */
unsigned long erodax_first_pfn_not_held(unsigned long pfn, unsigned long end)
{
	for (; pfn < end; pfn++) {
		struct page *page;

		if (!pfn_valid(pfn))
			break;
		page = pfn_to_page(pfn);
		if (!PageReserved(page) || page_count(page) <= 0)
			break;
	}
	return pfn;
}

/* A page of memory that a driver has made for fs/dax.c. */
bool erodax_pfn_is_fsdax(unsigned long pfn)
{
	struct page *page;

	if (!pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	return is_zone_device_page(page) && page_pgmap(page)->type == MEMORY_DEVICE_FS_DAX;
}

/* get_page() is for pages that are in use; those of fs/dax.c rest without a reference. */
void erodax_get_idle_page(struct page *page)
{
	page_ref_inc(page);
}

/* Until nobody has a reference any more; free_zone_device_folio() wakes. */
void erodax_wait_until_idle(unsigned long pfn, unsigned long count)
{
	unsigned long end = pfn + count;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		wait_var_event(page, dax_page_is_idle(page));
		cond_resched();
	}
}

void erodax_get_page(struct page *page)
{
	get_page(page);
}

void erodax_put_page(struct page *page)
{
	put_page(page);
}

void *erodax_page_address(struct page *page)
{
	return page_address(page);
}

phys_addr_t erodax_virt_to_phys(void *addr)
{
	return virt_to_phys(addr);
}

void *erodax_phys_to_virt(phys_addr_t addr)
{
	return phys_to_virt(addr);
}

struct dentry *erodax_dget(struct dentry *dentry)
{
	return dget(dentry);
}

/* Exported, but declared in drivers/dax/dax-private.h only. */
struct inode *dax_inode(struct dax_device *dax_dev);

dev_t erodax_dax_number(struct dax_device *dax_dev)
{
	return dax_inode(dax_dev)->i_rdev;
}

bool erodax_bdev_has_dax(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev));
}

/* Byte of the disk at which it begins: 0, or that of a partition. */
u64 erodax_bdev_start(struct block_device *bdev)
{
	return get_start_sect(bdev) << SECTOR_SHIFT;
}

u64 erodax_bdev_size(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

/* Visits every inode that is in memory; the visitor may sleep. As drop_pagecache_sb() does. */
void erodax_for_each_inode(struct super_block *sb, void (*visit)(struct inode *inode))
{
	struct inode *inode, *visited = NULL;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		/* The reference keeps the place in the list, until the next one is had. */
		if (!igrab(inode))
			continue;
		spin_unlock(&sb->s_inode_list_lock);
		iput(visited);
		visited = inode;
		visit(inode);
		cond_resched();
		spin_lock(&sb->s_inode_list_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
	iput(visited);
}

/* may_open_dev() of fs/namei.c, which is not exported. */
bool erodax_may_open_dev(const struct path *path)
{
	return !(path->mnt->mnt_flags & MNT_NODEV) &&
	       !(path->mnt->mnt_sb->s_iflags & SB_I_NODEV);
}

void erodax_inode_set_owner(struct inode *inode, u32 uid, u32 gid)
{
	/* Almost always, and then the ids need no search through the namespace's ranges. */
	if (likely(i_user_ns(inode) == &init_user_ns)) {
		inode->i_uid = KUIDT_INIT(uid);
		inode->i_gid = KGIDT_INIT(gid);
	} else {
		i_uid_write(inode, uid);
		i_gid_write(inode, gid);
	}
}

bool erodax_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

void erodax_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

void *erodax_folio_address(struct folio *folio)
{
	return folio_address(folio);
}

struct inode *erodax_folio_inode(struct folio *folio)
{
	return folio->mapping->host;
}

void erodax_folio_end_read(struct folio *folio, bool success)
{
	flush_dcache_folio(folio);
	folio_end_read(folio, success);
}

struct folio *erodax_readahead_folio(struct readahead_control *request)
{
	return readahead_folio(request);
}

loff_t erodax_readahead_pos(struct readahead_control *request)
{
	return readahead_pos(request);
}

size_t erodax_readahead_length(struct readahead_control *request)
{
	return readahead_length(request);
}

/* A new folio at a place that has none, locked, as readahead makes them. */
struct folio *erodax_add_folio(struct address_space *mapping, unsigned long index)
{
	gfp_t gfp = readahead_gfp_mask(mapping);
	struct folio *folio = filemap_alloc_folio(gfp, 0, NULL);

	if (!folio)
		return NULL;
	if (filemap_add_folio(mapping, folio, index, gfp) < 0) {
		folio_put(folio);
		return NULL;
	}
	return folio;
}

void erodax_folio_put(struct folio *folio)
{
	folio_put(folio);
}

struct address_space *erodax_folio_mapping(struct folio *folio)
{
	return folio->mapping;
}

size_t erodax_folio_size(struct folio *folio)
{
	return folio_size(folio);
}

loff_t erodax_folio_pos(struct folio *folio)
{
	return folio_pos(folio);
}

bool erodax_is_shared_maywrite(const struct vm_area_desc *desc)
{
	return is_shared_maywrite(&desc->vma_flags);
}

/* Into the mounter's own log if it has one (fsopen); dmesg is the caller's part. */
void erodax_log_error(struct fs_context *fc, const char *message)
{
	if (fc->log.log)
		logfc(fc->log.log, NULL, 'e', "%s", message);
}

struct posix_acl *erodax_acl_from_xattr(const void *value, size_t size)
{
	return posix_acl_from_xattr(&init_user_ns, value, size);
}

bool erodax_is_killed(void)
{
	return fatal_signal_pending(current);
}

/* Whether a message that an image can provoke at will may be logged now. */
bool erodax_may_log(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}

#if IS_ENABLED(CONFIG_KUNIT)
/* KUnit's threads see no files, and so no device nodes; /init does. */
struct vfsmount *erodax_kunit_mount(struct file_system_type *type, const char *source)
{
	scoped_with_init_fs()
		return vfs_kern_mount(type, SB_KERNMOUNT, source, NULL);
}
#endif
