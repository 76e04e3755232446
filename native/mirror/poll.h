/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What poll.c, poll_waiter.c and poll_wake.c share: the open files that somebody polls. */
#ifndef CGFS_MIRROR_POLL_H
#define CGFS_MIRROR_POLL_H

#include "files.h"

/* How waiters are found. */
enum waiter_index {
	BY_KERNEL_HANDLE,	/* which is one waiter's alone */
	BY_FILE_HANDLE,
	BY_KERNFS_ID,		/* of the file; of the directory of a control file */
	ALL,			/* their keys: */
	N_INDEXES,
};
enum { ALL_OTHERS, ALL_CONTROLS };
#define BUCKET_BITS 10

/* An open file that somebody polls. */
struct waiter {
	uint64_t node;			/* these two are constant */
	uint64_t keys[N_INDEXES];
	/* Guarded by the poller's lock: */
	LIST_ENTRY(waiter) in_bucket[N_INDEXES];
	unsigned int references;
	int fd;				/* what is polled, set once; -1: not yet, or a control file */
	struct open_file *file;		/* counted: whose fd it is; NULL: ours */
	uint64_t user;			/* to whom n_charged descriptors are charged; constant */
	unsigned int n_charged;
	bool armed;			/* somebody waits to be woken */
	bool taken;			/* the thread has taken the event of a pressure trigger, which comes once */
	bool read;			/* the process has read the file since a change was last reported */
	uint32_t process;		/* that polled last */
	bool changed;			/* of a control file: since it was read */
	uint64_t fingerprint;		/* of a control file: what was attached when it was looked at */
	/* Guards the answer to one poll as a whole, and reported; taken before the poller's lock. */
	pthread_mutex_t answering;
	bool reported;			/* a change, and it has not been read yet */
};

struct poller {
	struct cgfs_mirror *mirror;
	pthread_t thread;
	bool started;
	int wake_fd;			/* eventfd: the thread has to look at the waiters */
	int fan_fd;			/* who reads the files that are polled and passed through */
	uint32_t pid;			/* ours */
	_Atomic(uint64_t) next_handle;
	atomic_uint n_waiters;
	pthread_mutex_t lock;		/* taken before no other */
	LIST_HEAD(waiter_bucket, waiter) buckets[N_INDEXES][1 << BUCKET_BITS];
	bool looks_at_controls;		/* the thread does, now and then: somebody waits, or has a moment ago */
	bool ended;
};

/* --- poll_waiter.c ---------------------------------------------------------------------------------------------------- */

/*
 * The waiter of an open file, counted until waiter_put(); with create a new one if there is none. NULL: none, or the caller has
 * had his share of them.
 */
struct waiter *waiter_get(const struct request *request, const struct fuse_poll_in *in, bool create);
void waiter_put(struct poller *poller, struct waiter *waiter);
/* With the lock held: the first waiter of that key, or the one that follows; NULL: there is none. */
struct waiter *waiter_find(const struct poller *poller, enum waiter_index index, uint64_t key, const struct waiter *after);
/* With the lock held: it is found no more. It is put by whoever calls this. */
void waiter_unlink(struct poller *poller, struct waiter *waiter);
/*
 * The caller of FUSE_POLL is to be woken by the next change. Called before the state is looked at that is answered,
 * so that no change is lost in between.
 */
void waiter_arm(struct poller *poller, struct waiter *waiter, const struct fuse_poll_in *in);
/* With the lock held: wake whoever waits, once. */
void waiter_wake(struct poller *poller, struct waiter *waiter);
/* What is attached where the control file's node says, as a number that differs when it has changed. */
uint64_t control_fingerprint(const struct cgfs_mirror *mirror, uint64_t node);
/* Let whoever polls the control file know of a change, unless fingerprint is what he has seen. Returns false then. */
bool control_note_change(struct poller *poller, uint64_t node, const uint64_t *fingerprint);
void waiters_wake_up_thread(struct poller *poller);

/* --- poll_wake.c: the thread that wakes them -------------------------------------------------------------------------- */

void *wake_main(void *poller);

#endif
