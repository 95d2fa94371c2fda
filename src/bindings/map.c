// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping many pages into a process at once.
 *
 * The kernel exports functions that map one page (vmf_insert_page_mkwrite), or several
 * if the VMA has VM_MIXEDMAP (vm_insert_pages), which would take mlock from it. What
 * the page cache uses, set_pte_range, is not exported. So the counting that
 * insert_page_into_pte_locked and folio_add_file_rmap_pte (mm/memory.c, mm/rmap.c) do
 * for a small folio is repeated here, once per page where a page is counted and once
 * per call where pages are summed up. Page tables, their allocation and their locks
 * are left to apply_to_page_range.
 */
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

#include "helpers.h"

struct filling {
	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long pfn;
	/* Page-table entries that were set. */
	long set;
	/* Pages that were mapped nowhere before, all of the node of `page`, the last one. */
	int newly_mapped;
	struct page *page;
};

/* What __folio_mod_stat does. */
static void count_newly_mapped(struct filling *fill)
{
	if (fill->newly_mapped)
		lruvec_stat_mod_folio(page_folio(fill->page), NR_FILE_MAPPED, fill->newly_mapped);
	fill->newly_mapped = 0;
}

/* Called with the page table locked. */
static int fill_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct filling *fill = data;
	struct vm_area_struct *vma = fill->vma;
	struct page *page = pfn_to_page(fill->pfn + ((addr - fill->start) >> PAGE_SHIFT));

	/* Mapped by another thread, a copy of the process's own, or a marker. */
	if (!pte_none(ptep_get(pte)) || PageHWPoison(page))
		return 0;
	page_ref_inc(page);
	if (atomic_inc_and_test(&page->_mapcount)) {
		if (fill->newly_mapped && page_to_nid(page) != page_to_nid(fill->page))
			count_newly_mapped(fill);
		fill->page = page;
		fill->newly_mapped++;
	}
	set_pte_at(vma->vm_mm, addr, pte, mk_pte(page, vma->vm_page_prot));
	fill->set++;
	return 0;
}

/*
 * Maps `count` pages from `pfn` on at `addr`; where something is mapped already it stays.
 *
 * Every page must be order 0, referenced, without a type, not anonymous, not
 * swap-backed and of no memory cgroup: pages that were reserved at boot are. The
 * addresses must be in the VMA, which must not have VM_LOCKED (whose pages are counted
 * apart), nor be watched by userfaultfd, nor can be mapped by a huge page. The caller
 * has the VMA lock or the mmap lock.
 */
int erodax_map_pages(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
		     unsigned long count)
{
	struct filling fill = { .vma = vma, .start = addr, .pfn = pfn };
	int err = apply_to_page_range(vma->vm_mm, addr, count << PAGE_SHIFT, fill_pte, &fill);

	/* As add_mm_counter, whose trace point is not exported. */
	percpu_counter_add(&vma->vm_mm->rss_stat[MM_FILEPAGES], fill.set);
	count_newly_mapped(&fill);
	return err;
}

/*
 * Maps `count` pages from `pfn` on at `addr`, of any order, until one is poisoned or
 * something is mapped already. Slower than erodax_map_pages, but it is the MM that counts.
 *
 * The same promises as there, but for the pages' order and VM_LOCKED.
 */
int erodax_insert_pages(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
			unsigned long count)
{
	struct page *pages[16];
	unsigned long n;
	int err = 0;

	for (; count && !err; count -= n, pfn += n, addr += n << PAGE_SHIFT) {
		/* insert_pages(), which asks for no flag of the VMA. */
		struct mmap_action action = { .map_kernel = { .start = addr, .pages = pages } };

		for (n = 0; n < min(count, ARRAY_SIZE(pages)); n++) {
			pages[n] = pfn_to_page(pfn + n);
			if (PageHWPoison(pages[n]))
				break;
		}
		if (!n)
			break;
		action.map_kernel.nr_pages = n;
		err = map_kernel_pages_complete(vma, &action);
	}
	return err;
}

/* Whether there is no page table yet, and the process has nothing against huge pages. */
bool erodax_wants_huge(const struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;

	return pmd_none(*vmf->pmd) && has_transparent_hugepage() &&
	       !vma_thp_disabled(vma, vma->vm_flags, false);
}

/* Maps the compound page of 2 MiB that begins at `pfn`. */
vm_fault_t erodax_insert_huge(struct vm_fault *vmf, unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));

	if (folio_contain_hwpoisoned_page(folio))
		return VM_FAULT_FALLBACK;
	return vmf_insert_folio_pmd(vmf, folio, false);
}

bool erodax_page_is_poisoned(const struct page *page)
{
	return PageHWPoison(page);
}

int erodax_page_refs(const struct page *page)
{
	return page_ref_count(page);
}

bool erodax_is_watched(struct vm_area_struct *vma)
{
	return userfaultfd_armed(vma);
}
