/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stale.c and notify.c share: what is to be told to the kernel. */
#ifndef CGFS_MIRROR_STALE_H
#define CGFS_MIRROR_STALE_H

#include "internal.h"
#include "lanes.h"

struct stale_item {
	struct stale_item *next;
	enum stale_what what;
	uint64_t node;
	uint64_t child;
	struct timespec again;	/* when it is to be told for the second time */
	char name[];		/* empty: none */
};

/* notify.c: tell the kernel, for the first or the second time. Waits for no lock: what needs one goes to the lanes. */
void stale_tell(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item, bool first);
/* What the lanes do. The directory's lock is taken. */
void stale_expire(struct cgfs_mirror *mirror, const struct errand *errand);

/* stale.c: the lanes of the mirror. */
struct lanes *stale_lanes(struct cgfs_mirror *mirror);

#endif
