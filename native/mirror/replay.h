/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What replay.c and replay_answer.c share. */
#ifndef CGFS_MIRROR_REPLAY_H
#define CGFS_MIRROR_REPLAY_H

#include "internal.h"

struct act {
	struct act *next;
	enum replay_what what;
	uint64_t node;		/* of the directory, where there is a name */
	uint64_t child;
	char *path;		/* below SOURCE, and so below the mirror */
	const char *name;	/* the last part of path; NULL for REPLAY_MODIFIED */
};

struct replay {
	pthread_t thread;
	bool started;
	int wake_fd;			/* eventfd: something was added, or the end */
	atomic_uint tid;		/* of the thread, while it replays; else 0 */
	pthread_mutex_t lock;		/* guards what follows; taken before no other */
	struct act *current;		/* what the thread is doing */
	struct act *first;		/* and what it has to do */
	struct act **last;
	bool ended;			/* nothing is replayed any more */
};

#endif
