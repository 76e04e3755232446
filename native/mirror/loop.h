/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What loop_worker.c and the files loop*.c share: the threads that serve one connection. */
#ifndef CGFS_MIRROR_LOOP_H
#define CGFS_MIRROR_LOOP_H

#include <sched.h>
#include <signal.h>
#include <time.h>

#include "internal.h"

/* The largest request: a write of MAX_IO bytes with its headers. */
#define REQUEST_SIZE (MAX_IO + 4096)
/* The largest reply: MAX_IO bytes behind a header. */
#define REPLY_SIZE (MAX_IO + 4096)
/* All readers and those who may wait: loop_share.c says how many that are. */
#define MAX_WORKERS 1000
/* Ends a worker's system call with EINTR. Blocked in all other threads. */
#define INTERRUPT_SIGNAL (SIGRTMIN + 3)

/* Guarded by the loop's lock, but for the buffers and what never changes. */
struct worker {
	struct loop *loop;
	pthread_t thread;
	pid_t tid;
	char *request;			/* REQUEST_SIZE; the worker's own */
	char *reply;			/* REPLY_SIZE; the worker's own */
	LIST_ENTRY(worker) next;	/* in workers, or in retired */
	SLIST_ENTRY(worker) next_idle;
	pthread_cond_t promoted;	/* it is to read, or the loop has ended */
	uint64_t unique;		/* of the request at hand; 0: none */
	uint64_t user;			/* whose it is */
	bool reads;			/* one of the readers: reads the connection, or is about to, or handles a quick request */
	struct share *share;		/* it waits for this user; NULL: it is a reader, or idle */
	uint64_t seen;			/* the request at hand when the watcher last looked */
	bool interruptible;		/* a signal may end its system call */
	bool interrupted;		/* and is to */
	/* Of the follower: loop_follow.c. */
	bool may_block;			/* its handler has said so */
	bool is_to_look;		/* where the caller of its request is, after the answer */
	int cpu;			/* it is bound to this one; -1: to none yet */
	cpu_set_t allowed;		/* it was bound to these before */
	bool is_lost;			/* the caller may be on another CPU */
	unsigned int until_look;	/* requests of his, until it may look where he is */
	uint64_t put_off_from;		/* the alarm is to be put off again; monotonic_us() */
};

#define N_EARLY 64

struct loop {
	struct cgfs_mirror *mirror;
	mode_t umask;			/* the process's */
	pthread_t watcher;
	int wake_fd;			/* an eventfd, for the watcher: a request while it sleeps, an interrupt, a retired worker, the end */
	int alarm_fd;			/* a timerfd, for it too: the follower has answered nothing for a while */
	pthread_mutex_t lock;		/* guards what follows; taken before no other, held in no call that waits for others */
	pthread_cond_t over;		/* ended is set */
	LIST_HEAD(worker_list, worker) workers;
	SLIST_HEAD(, worker) idle;	/* those of them that stand by */
	struct worker_list retired;	/* to be joined */
	unsigned int n_workers, n_idle, n_readers;
	LIST_HEAD(, share) shares;	/* of the users for whom a worker waits: loop_share.c */
	unsigned int n_waiting_others;	/* workers, for all users but root */
	unsigned int n_waiting_all;	/* workers */
	uint32_t busiest;		/* the thread that asks most: loop_follow.c */
	unsigned int lead;		/* its requests, less what others ask, since the last pause; it has an upper bound */
	uint64_t last_us;		/* when something was asked or answered last; monotonic_us() */
	struct worker *_Atomic follower;	/* the only reader, once the others have served one request more; NULL: nobody is followed */
	uint64_t follow_from_us;	/* and nobody is to be before then */
	uint64_t early[N_EARLY];	/* interrupts that were read before their request was taken up; 0: none */
	unsigned int n_early;		/* how many there have been; the newest is before it, modulo N_EARLY */
	bool watcher_asleep;
	bool ended;
};

/* --- loop.c ----------------------------------------------------------------------------------------------------- */

void *worker_main(void *worker);
/*
 * The worker is no reader any more, since it waits, or is about to; lock held. If it was the last one, somebody else becomes
 * a reader; if nobody can be had, it stays one, and requests wait for it.
 */
void stop_reading(struct worker *worker, bool expected);
/* Have as many readers as there are to be; lock held. */
void fill_up_readers(struct loop *loop);

/* --- loop_share.c: lock held ------------------------------------------------------------------------------------------- */

/* Whether somebody waits for the answer to such a request. */
bool has_caller(uint32_t opcode);
/* Whether so many workers wait that a user is to be who is behind a container (user.c), not a uid. */
bool share_is_crowded(const struct loop *loop);
/* Whether the request in the worker's buffer may wait unexpectedly, since another one of its user does. */
bool share_expects_surprise(const struct worker *worker);
/*
 * If as many workers wait for the user of the request of that size in the worker's buffer as may, keep it for later, or refuse
 * it. Returns whether that was done; if not, it is to be handled now.
 */
bool share_defer(struct worker *worker, size_t size);
/* From now on the worker waits for the user of its request; not expected: its handler has not said that it may. */
void share_take(struct worker *worker, bool expected);
/*
 * The worker has answered. Returns the size of another request of its user, which was kept and is in its buffer now; 0 if
 * there is none: then the worker waits no more.
 */
size_t share_give(struct worker *worker);
/* Answer EINTR to a kept request whose caller was interrupted, if it may be. Returns false if there is none. */
bool share_interrupt(struct loop *loop, uint64_t unique);
void share_free_all(struct loop *loop);

/* --- loop_follow.c: lock held, but for follow_look() ----------------------------------------------------------------- */

/* Self, a reader, has read a request. Returns whether it follows the caller, and is to look where he is (follow_look()). */
bool follow_caller(struct worker *self);
/* After the answer: go to the CPU of the caller of self's request. */
void follow_look(struct worker *self);
/* Self has answered. */
void follow_answered(struct worker *self);
/* The worker follows nobody any more: it waits, or ends. */
void follow_stop(struct worker *worker, bool expected);
/* If there is a pause, nobody is followed any more. */
void follow_check(struct loop *loop);
/* Take the lock, also from a follower that gets no CPU: for the watcher. */
void follow_lock(struct loop *loop);

/* --- loop_worker.c: lock held ----------------------------------------------------------------------------------------- */

/* A new thread with every signal blocked. Returns 0 or -errno. */
int start_thread(pthread_t *thread, void *(*function)(void *), void *argument);
/* Give the calling thread, and those that it starts, a table of descriptors with the standard ones and these. 0 or -errno. */
int keep_descriptors(const int fds[2]);
/* One worker more, which waits for the lock. Returns NULL if there are enough, or no thread can be had. */
struct worker *worker_create(struct loop *loop);
/* The calling worker's last act under the lock. */
void worker_retire(struct worker *worker);
void worker_free(struct worker *worker);	/* its thread has been joined */

/* --- loop_watch.c ------------------------------------------------------------------------------------------------------ */

void *watcher_main(void *loop);
void wake_watcher(struct loop *loop);	/* lock held */
/* Whether the caller of that request was interrupted before the request was taken up; lock held. */
bool was_interrupted_early(struct loop *loop, uint64_t unique);

#endif
