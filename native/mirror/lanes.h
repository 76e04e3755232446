/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work for which the kernel takes a directory's lock: a lane for each directory (lanes.c). */
#ifndef CGFS_MIRROR_LANES_H
#define CGFS_MIRROR_LANES_H

#include "internal.h"

struct errand {
	STAILQ_ENTRY(errand) next;
	uint64_t node;		/* whose lane it is in */
	int what;
	uint64_t child;
	char text[];
};

struct lanes;

/* Does one errand. Called without a lock; it may wait for as long as it must, and nothing in another lane waits. */
typedef void (*lanes_perform)(struct cgfs_mirror *mirror, const struct errand *errand);

/* What perform() uses is, of the descriptors, the standard ones and fds only. */
int lanes_start(struct cgfs_mirror *mirror, lanes_perform perform, const int fds[2], struct lanes **lanes);
/*
 * To be done in the lane of the node, after what was added to it before. Of errands without a text that are of one kind, one
 * waits at a time. Returns false if it does not wait there now, since there is no memory or no room: there is always
 * room for what is needed, which should have no text. Never waits.
 */
bool lanes_add(struct lanes *lanes, int what, uint64_t node, const char *text, uint64_t child, bool needed);
/* Wait until all that was added before has been done, but where somebody holds the lock, or until the deadline. */
void lanes_flush(struct lanes *lanes, const struct timespec *deadline);
bool lanes_have_ended(struct lanes *lanes);
/*
 * Do nothing more, and wait for what is being done. Returns false if that was not all done by the deadline: the threads end
 * as soon as they can, and until then use the lanes and the mirror, which so are not to be freed. May be called again.
 */
bool lanes_end(struct lanes *lanes, const struct timespec *deadline);
void lanes_free(struct lanes *lanes);	/* then, if it was */

#endif
