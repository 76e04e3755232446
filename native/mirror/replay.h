/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What replay.c and replay_answer.c share. */
#ifndef CGFS_MIRROR_REPLAY_H
#define CGFS_MIRROR_REPLAY_H

#include "internal.h"
#include "lanes.h"

/* What one thread is doing at the moment. */
struct act {
	LIST_ENTRY(act) next;
	uint32_t tid;
	const struct errand *errand;	/* its text is the name in the directory, where there is one */
};

struct replay {
	pthread_t thread;
	bool started;
	int wake_fd;			/* eventfd: the end */
	int copy;			/* of the mount, in the table of descriptors of the thread and its lanes */
	atomic_uint n_acts;		/* read without the lock, to see that a request cannot come from one */
	pthread_mutex_t lock;		/* guards what follows; taken before no other but the lanes' */
	LIST_HEAD(, act) acts;
	struct lanes *lanes;		/* NULL: nothing is replayed */
	bool ended;			/* nor will be */
	bool left;			/* a thread is left behind in the lanes. Written before the thread ends */
};

#endif
