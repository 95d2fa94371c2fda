/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for what Rust cannot call: inline functions, macros, module parameters. */
#ifndef ERODAX_HELPERS_H
#define ERODAX_HELPERS_H

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mm.h>

/* helpers.c */
const char *erodax_param_region(void);
const char *erodax_param_fstype(void);

struct dax_device;

struct page *erodax_pfn_to_page(unsigned long pfn);
unsigned long erodax_page_to_pfn(const struct page *page);
unsigned long erodax_first_pfn_not_held(unsigned long pfn, unsigned long end);
bool erodax_pfn_is_fsdax(unsigned long pfn);
void erodax_get_page(struct page *page);
void erodax_get_idle_page(struct page *page);
void erodax_put_page(struct page *page);
void *erodax_page_address(struct page *page);
phys_addr_t erodax_virt_to_phys(void *addr);
void *erodax_phys_to_virt(phys_addr_t addr);

#if IS_ENABLED(CONFIG_KUNIT)
struct vfsmount *erodax_kunit_mount(struct file_system_type *type, const char *source);
#endif

/* map.c */
int erodax_map_pages(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
		     unsigned long count);
int erodax_insert_pages(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
			unsigned long count);
bool erodax_wants_huge(const struct vm_fault *vmf);
vm_fault_t erodax_insert_huge(struct vm_fault *vmf, unsigned long pfn);
bool erodax_page_is_poisoned(const struct page *page);
int erodax_page_refs(const struct page *page);
bool erodax_is_watched(struct vm_area_struct *vma);

/* helpers.c */
void erodax_wait_until_idle(unsigned long pfn, unsigned long count);

dev_t erodax_dax_number(struct dax_device *dax_dev);
bool erodax_bdev_has_dax(struct block_device *bdev);
u64 erodax_bdev_start(struct block_device *bdev);
u64 erodax_bdev_size(struct block_device *bdev);

void erodax_for_each_inode(struct super_block *sb, void (*visit)(struct inode *inode));
struct dentry *erodax_dget(struct dentry *dentry);
bool erodax_may_open_dev(const struct path *path);
void erodax_inode_set_owner(struct inode *inode, u32 uid, u32 gid);
bool erodax_inode_is_new(struct inode *inode);
void erodax_mapping_set_large_folios(struct address_space *mapping);
void *erodax_folio_address(struct folio *folio);
struct inode *erodax_folio_inode(struct folio *folio);
void erodax_folio_end_read(struct folio *folio, bool success);
struct folio *erodax_readahead_folio(struct readahead_control *request);
loff_t erodax_readahead_pos(struct readahead_control *request);
size_t erodax_readahead_length(struct readahead_control *request);
struct folio *erodax_add_folio(struct address_space *mapping, unsigned long index);
void erodax_folio_put(struct folio *folio);
struct address_space *erodax_folio_mapping(struct folio *folio);
size_t erodax_folio_size(struct folio *folio);
loff_t erodax_folio_pos(struct folio *folio);
bool erodax_is_shared_maywrite(const struct vm_area_desc *desc);
struct posix_acl *erodax_acl_from_xattr(const void *value, size_t size);
bool erodax_is_killed(void);
bool erodax_may_log(void);
void erodax_log_error(struct fs_context *fc, const char *message);

#endif
