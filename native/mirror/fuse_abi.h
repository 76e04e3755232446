/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE protocol as the mirror speaks it: linux/fuse.h, and what is newer than protocol 7.38, the one of the
 * oldest header that cgfs builds with. Source of each declaration here: include/uapi/linux/fuse.h of Linux 6.9,
 * protocol 7.40. Structures that grew have names of their own here, so that a newer header is no conflict.
 */
#ifndef CGFS_FUSE_ABI_H
#define CGFS_FUSE_ABI_H

#include <linux/fuse.h>
#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

#if FUSE_KERNEL_VERSION != 7 || FUSE_KERNEL_MINOR_VERSION < 38
#error "linux/fuse.h is too old: cgfs needs that of Linux 6.2 (protocol 7.38) or later"
#endif

/* What the mirror answers to INIT at most: all that it uses is in 7.40. */
#define MIRROR_FUSE_MINOR 40
/*
 * And of what the kernel offers, besides passthrough. FUSE_HANDLE_KILLPRIV_V2: whether a change takes set-id bits away is
 * cgroup2's to say, and it has other rules.
 */
#define MIRROR_FUSE_FLAGS (FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | \
			   FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_NO_OPENDIR_SUPPORT | FUSE_HANDLE_KILLPRIV_V2)

#if FUSE_KERNEL_MINOR_VERSION < 40

#define FUSE_PASSTHROUGH (1ULL << 37)
#define FOPEN_PASSTHROUGH (1 << 7)

struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)

#endif

#if FUSE_KERNEL_MINOR_VERSION < 44
#define FUSE_NOTIFY_INC_EPOCH 8
#endif

_Static_assert(sizeof(struct fuse_backing_map) == 16, "struct fuse_backing_map");

/* struct fuse_init_out with max_stack_depth (before 7.40: unused). */
struct mirror_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint32_t unused[6];
};
_Static_assert(sizeof(struct mirror_init_out) == 64, "struct fuse_init_out");
_Static_assert(offsetof(struct mirror_init_out, flags2) == 32, "struct fuse_init_out");

/* struct fuse_open_out with backing_id (before 7.40: padding). */
struct mirror_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
_Static_assert(sizeof(struct mirror_open_out) == 16, "struct fuse_open_out");
_Static_assert(offsetof(struct mirror_open_out, backing_id) == 12, "struct fuse_open_out");

/* struct fuse_setxattr_in as it is sent where FUSE_SETXATTR_EXT was not negotiated. */
struct mirror_setxattr_in {
	uint32_t size;
	uint32_t flags;
};
_Static_assert(sizeof(struct mirror_setxattr_in) == 8, "struct fuse_setxattr_in");

_Static_assert(sizeof(struct fuse_out_header) == 16, "struct fuse_out_header");
_Static_assert(sizeof(struct fuse_attr) == 88, "struct fuse_attr");
_Static_assert(sizeof(struct fuse_entry_out) == 128, "struct fuse_entry_out");
_Static_assert(sizeof(struct fuse_attr_out) == 104, "struct fuse_attr_out");

#endif
