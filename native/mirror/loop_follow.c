/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever asks again and again is followed: one reader serves him, on his own CPU.
 *
 * The scheduler puts who is woken on an idle CPU. So the caller and his reader have one each, which goes idle whenever the
 * other one works, and to start an idle CPU takes longer than all the rest of an open: 20 to 45 µs on a virtual machine. Where
 * both share one, nobody waits for that: the caller sleeps and the reader goes on; it sleeps and the caller goes on. For that,
 *
 * - the reader is bound to the caller's CPU, and looks from time to time whether that is another one now;
 * - it is SCHED_IDLE: to the scheduler, a CPU that has nothing else to do is an idle one, and the caller, woken, stays there;
 * - no other reader waits for requests: the kernel would wake it for his next RELEASE, elsewhere.
 *
 * That is good for him, and may be bad for all others: SCHED_IDLE gets what CPU time they leave, on a CPU that may have much
 * to do. So it begins when there are few requests but his, and ends when others ask, when he pauses, and when a request may
 * wait; and if somebody had to wait for the follower, then it does not begin again for a while.
 *
 * Sources: select_idle_sibling() in kernel/sched/fair.c; fuse_dev_queue_req() in fs/fuse/dev.c.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "monotonic.h"

#define OFTEN 16		/* requests that he is ahead of all others */
#define PER_OTHER 4		/* so many less for each of somebody else's */
#define PAUSE_MS 1		/* from an answer to the next request */
#define LOOK 8			/* requests from one look where he is to the next, which takes 2 µs */
#define NOT_AFTER_WAITING_MS 10
#define NOT_AFTER_HARM_MS 10000
#define STAT_CPU 39		/* the field of /proc/PID/stat: proc_pid_stat(5) */

/* --- whom to follow: lock held ------------------------------------------------------------------------------------ */

static void set_policy(const struct worker *worker, int policy)
{
	const struct sched_param parameters = {};

	sched_setscheduler(worker->tid, policy, &parameters);
}

static void begin(struct worker *self)
{
	/* Without CAP_SYS_NICE a thread stays SCHED_IDLE for ever. */
	if (!identity_has(CAP_SYS_NICE) || sched_getaffinity(self->tid, sizeof(self->allowed), &self->allowed) < 0)
		return;
	self->loop->follower = self;
	self->cpu = -1;
	self->until_look = 0;
	set_policy(self, SCHED_IDLE);
}

/* Nobody is followed any more, nor in the next milliseconds. */
static void end(struct loop *loop, long ms)
{
	struct worker *worker = loop->follower;

	loop->follower = NULL;
	loop->lead = 0;
	loop->follow_from = after_ms(ms);
	sched_setaffinity(worker->tid, sizeof(worker->allowed), &worker->allowed);
	set_policy(worker, SCHED_BATCH);
	fill_up_readers(loop);
}

void follow_stop(struct worker *worker, bool expected)
{
	struct loop *loop = worker->loop;

	if (loop->follower == worker)
		end(loop, NOT_AFTER_WAITING_MS);
	if (!expected)
		loop->follow_from = after_ms(NOT_AFTER_HARM_MS);
}

void follow_check(struct loop *loop)
{
	struct pollfd connection = {.fd = loop->mirror->fuse_fd, .events = POLLIN};

	if (loop->follower && !loop->follower->unique && loop->n_answered == loop->n_answered_before)
		end(loop, poll(&connection, 1, 0) == 1 ? NOT_AFTER_HARM_MS : 0);
	loop->n_answered_before = loop->n_answered;
}

void follow_answered(struct loop *loop)
{
	loop->pause = after_ms(PAUSE_MS);
	loop->n_answered++;
}

/* The caller is whoever has most of the requests, and the lead by how many; it is lost in a pause. */
static void count(struct loop *loop, uint32_t tid)
{
	if (is_past(&loop->pause))
		loop->lead = 0;
	if (tid == loop->caller) {
		if (loop->lead < OFTEN)
			loop->lead++;
	} else if (loop->lead > PER_OTHER) {
		loop->lead -= PER_OTHER;
	} else {
		loop->caller = tid;
		loop->lead = 0;
	}
}

bool follow_caller(struct worker *self, uint32_t tid)
{
	struct loop *loop = self->loop;

	if (!tid)	/* of a RELEASE, for one: nobody waits for it */
		return false;
	count(loop, tid);
	if (loop->follower && loop->lead < PER_OTHER)
		end(loop, 0);
	else if (!loop->follower && loop->lead == OFTEN && is_past(&loop->follow_from))
		begin(self);
	if (loop->follower != self || loop->caller != tid)
		return false;
	self->until_look = self->until_look ? self->until_look - 1 : LOOK - 1;
	return self->until_look == LOOK - 1;
}

/* --- where he is --------------------------------------------------------------------------------------------------- */

/* The CPU on which that thread is, or was when it fell asleep; -1 if /proc does not say. */
static int cpu_of(uint32_t tid)
{
	char path[64], text[1024];
	const char *at;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", tid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[size > 0 ? size : 0] = 0;
	at = strrchr(text, ')');	/* the end of the second field, the name, which may be anything */
	for (int field = 2; at && field < STAT_CPU; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at) : -1;
}

/* Returns false if self may not go there. */
static bool go_to(struct worker *self, int cpu)
{
	cpu_set_t there;

	if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &self->allowed))
		return false;
	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
	self->cpu = cpu;
	return sched_setaffinity(self->tid, sizeof(there), &there) == 0;
}

void follow_look(struct worker *self)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	struct loop *loop = self->loop;
	int cpu = cpu_of(identity_visible_tid(header->pid));

	pthread_mutex_lock(&loop->lock);
	if (loop->follower == self && cpu != self->cpu && !go_to(self, cpu))
		end(loop, NOT_AFTER_WAITING_MS);
	pthread_mutex_unlock(&loop->lock);
}
