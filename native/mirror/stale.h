/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stale.c and stale_notify.c share: what is to be told to the kernel. */
#ifndef CGFS_MIRROR_STALE_H
#define CGFS_MIRROR_STALE_H

#include "lanes.h"
#include "watch.h"

struct stale_item {
	STAILQ_ENTRY(stale_item) next;
	LIST_ENTRY(stale_item) in_slot;		/* while it is fresh, and has no name */
	enum stale_what what;
	uint64_t node;
	uint64_t child;
	bool first;		/* it was not told yet; else it is for the second time */
	bool known;		/* the kernel knows the node: what the first step has found out for the second */
	struct timespec again;	/* when it is to be told for the second time */
	char name[];		/* empty: none */
};

#define TOLD_BITS 10

/* What is told together. */
struct stale_round {
	uint64_t number;
	struct {
		uint64_t number, node;
		bool known;
	} told[1 << TOLD_BITS];		/* by hash; of two with the same one, the last */
};

/* stale_notify.c: the first step: tell at once what needs no lock: of a node once in a round, as a rule. Returns whether there is
 * any. */
bool stale_inval(struct cgfs_mirror *mirror, struct stale_round *round, struct stale_item *item);
/* stale_notify.c: the second: give to the lanes what needs one. */
void stale_give_to_lanes(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item);
/* What the lanes do. The directory's lock is taken. */
void stale_expire(struct cgfs_mirror *mirror, const struct errand *errand);

/* stale_notify.c: that the attributes of a node are not known any more. Returns false if the kernel does not know the node. */
bool inval_attributes(const struct cgfs_mirror *mirror, uint64_t node);

/* stale.c: the lanes of the mirror. */
struct lanes *stale_lanes(struct cgfs_mirror *mirror);

#endif
