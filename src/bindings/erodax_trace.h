/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The trace events. What is also an event of stock EROFS has the same fields
 * (include/trace/events/erofs.h), so that the same filters and scripts serve
 * for both.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM erodax

#if !defined(ERODAX_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ERODAX_TRACE_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

#ifndef ERODAX_TRACE_TYPES
#define ERODAX_TRACE_TYPES

/* In `flags`: who asks, and in `mflags`: what was found; with stock's values. */
#define ERODAX_GET_BLOCKS_FIEMAP	(1 << 0)
#define ERODAX_MAP_MAPPED		(1 << 0)
#define ERODAX_MAP_META			(1 << 1)

/* What mapping a logical address gave. */
struct erodax_map_blocks {
	u64 la;			/* first byte in the file */
	u64 pa;			/* first byte in the device */
	u64 llen;		/* bytes in the file */
	u64 plen;		/* bytes in the device */
	unsigned int mflags;
	unsigned int deviceid;	/* 0: the one with the metadata */
};

#endif

TRACE_EVENT(erodax_lookup,
	TP_PROTO(dev_t dev, u64 nid, const char *name, unsigned int len, unsigned int flags),
	TP_ARGS(dev, nid, name, len, flags),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__string_len(name, name, len)
		__field(unsigned int, flags)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__assign_str(name);
		__entry->flags = flags;
	),
	TP_printk("dev=%u:%u pnid=%llu name=%s flags=%#x",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __get_str(name), __entry->flags)
);

TRACE_EVENT(erodax_fill_inode,
	TP_PROTO(dev_t dev, u64 nid, u64 blkaddr, unsigned int ofs),
	TP_ARGS(dev, nid, blkaddr, ofs),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(u64, blkaddr)
		__field(unsigned int, ofs)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->blkaddr = blkaddr;
		__entry->ofs = ofs;
	),
	TP_printk("dev=%u:%u nid=%llu blkaddr=%llu ofs=%u",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __entry->blkaddr, __entry->ofs)
);

TRACE_EVENT(erodax_map_blocks_enter,
	TP_PROTO(dev_t dev, u64 nid, u64 la, u64 llen, unsigned int flags),
	TP_ARGS(dev, nid, la, llen, flags),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(u64, la)
		__field(u64, llen)
		__field(unsigned int, flags)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->la = la;
		__entry->llen = llen;
		__entry->flags = flags;
	),
	TP_printk("dev=%u:%u nid=%llu la=%llu llen=%llu flags=%s",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __entry->la, __entry->llen,
		  __print_flags(__entry->flags, "|", { ERODAX_GET_BLOCKS_FIEMAP, "FIEMAP" }))
);

TRACE_EVENT(erodax_map_blocks_exit,
	TP_PROTO(dev_t dev, u64 nid, unsigned int flags,
		 const struct erodax_map_blocks *map, int ret),
	TP_ARGS(dev, nid, flags, map, ret),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(unsigned int, flags)
		__field(u64, la)
		__field(u64, pa)
		__field(u64, llen)
		__field(u64, plen)
		__field(unsigned int, mflags)
		__field(int, ret)
		__field(unsigned int, deviceid)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->flags = flags;
		__entry->la = map->la;
		__entry->pa = map->pa;
		__entry->llen = map->llen;
		__entry->plen = map->plen;
		__entry->mflags = map->mflags;
		__entry->ret = ret;
		__entry->deviceid = map->deviceid;
	),
	TP_printk("dev=%u:%u nid=%llu flags=%s la=%llu pa=%llu llen=%llu plen=%llu mflags=%s ret=%d deviceid=%u",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __print_flags(__entry->flags, "|", { ERODAX_GET_BLOCKS_FIEMAP, "FIEMAP" }),
		  __entry->la, __entry->pa, __entry->llen, __entry->plen,
		  __print_flags(__entry->mflags, "", { ERODAX_MAP_MAPPED, "M" },
				{ ERODAX_MAP_META, "I" }),
		  __entry->ret, __entry->deviceid)
);

/* A fault in a mapping of memory; those in the page cache have filemap's events. */
TRACE_EVENT(erodax_fault,
	TP_PROTO(dev_t dev, u64 nid, const struct vm_fault *vmf, vm_fault_t ret),
	TP_ARGS(dev, nid, vmf, ret),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(unsigned long, address)
		__field(pgoff_t, pgoff)
		__field(unsigned int, flags)
		__field(unsigned int, ret)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->address = vmf->address;
		__entry->pgoff = vmf->pgoff;
		__entry->flags = vmf->flags;
		__entry->ret = (__force unsigned int)ret;
	),
	TP_printk("dev=%u:%u nid=%llu address=%#lx pgoff=%lu flags=%#x ret=%s",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __entry->address, __entry->pgoff, __entry->flags,
		  __print_flags(__entry->ret, "|", VM_FAULT_RESULT_TRACE))
);

TRACE_EVENT(erodax_read_folio,
	TP_PROTO(dev_t dev, u64 nid, const struct folio *folio, bool dir, bool raw),
	TP_ARGS(dev, nid, folio, dir, raw),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(int, dir)
		__field(pgoff_t, index)
		__field(unsigned int, order)
		__field(bool, raw)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->dir = dir;
		__entry->index = folio->index;
		__entry->order = folio_order(folio);
		__entry->raw = raw;
	),
	TP_printk("dev=%u:%u nid=%llu dir=%d index=%lu order=%u raw=%d",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __entry->dir, __entry->index, __entry->order, __entry->raw)
);

TRACE_EVENT(erodax_readahead,
	TP_PROTO(dev_t dev, u64 nid, pgoff_t start, unsigned int nrpage, bool raw),
	TP_ARGS(dev, nid, start, nrpage, raw),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, nid)
		__field(pgoff_t, start)
		__field(unsigned int, nrpage)
		__field(bool, raw)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->nid = nid;
		__entry->start = start;
		__entry->nrpage = nrpage;
		__entry->raw = raw;
	),
	TP_printk("dev=%u:%u nid=%llu start=%lu nrpage=%u raw=%d",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->nid,
		  __entry->start, __entry->nrpage, __entry->raw)
);

#endif

/* Outside of the guard: it includes this file again. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE erodax_trace
#include <trace/define_trace.h>
