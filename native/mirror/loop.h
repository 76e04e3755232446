/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What loop.c, worker.c and loop_watch.c share: the threads that serve one connection. */
#ifndef CGFS_MIRROR_LOOP_H
#define CGFS_MIRROR_LOOP_H

#include <signal.h>

#include "internal.h"

/* The largest request: a write of MAX_IO bytes with its headers. */
#define REQUEST_SIZE (MAX_IO + 4096)
/* Ends a worker's system call with EINTR. Blocked but for those calls. */
#define INTERRUPT_SIGNAL (SIGRTMIN + 3)

/* Guarded by the loop's lock, but for the buffers and what never changes. */
struct worker {
	struct loop *loop;
	pthread_t thread;
	char *request;			/* REQUEST_SIZE; the worker's own */
	char *reply;			/* MAX_IO; the worker's own */
	struct worker *next;		/* in workers, or in retired */
	struct worker *next_idle;
	pthread_cond_t promoted;	/* it has become the leader, or the loop has ended */
	uint64_t unique;		/* of the request at hand; 0: none */
	bool interruptible;		/* a signal may end its system call */
	bool interrupted;		/* and is to */
};

struct loop {
	struct cgfs_mirror *mirror;
	pthread_t watcher;
	pthread_mutex_t lock;		/* guards what follows; taken before no other, held in no call that waits for others */
	pthread_cond_t watch;		/* for the watcher: a request while it sleeps, an interrupt, a retired worker, the end */
	pthread_cond_t over;		/* ended is set */
	struct worker *workers;
	struct worker *idle;		/* those of them that stand by */
	struct worker *retired;		/* to be joined */
	struct worker *leader;		/* the only one that reads the connection */
	unsigned int n_workers, n_idle;
	uint64_t requests;		/* taken up by leaders so far */
	bool serving;			/* the leader is in a handler */
	bool watcher_asleep;
	bool ended;
};

/* --- loop.c ----------------------------------------------------------------------------------------------------- */

void *worker_main(void *worker);
/* Make somebody else the leader; lock held. If nobody can be had, the leader stays it, and requests wait for it. */
void hand_over(struct loop *loop);

/* --- worker.c: lock held --------------------------------------------------------------------------------------------- */

/* A new thread with every signal blocked. Returns 0 or -errno. */
int start_thread(pthread_t *thread, void *(*function)(void *), void *argument);
/* One worker more, which waits for the lock. Returns NULL if there are enough, or no thread can be had. */
struct worker *worker_create(struct loop *loop);
/* The calling worker's last act under the lock. */
void worker_retire(struct worker *worker);
void worker_free(struct worker *worker);	/* its thread has been joined */

/* --- loop_watch.c ------------------------------------------------------------------------------------------------------ */

void *watcher_main(void *loop);

#endif
