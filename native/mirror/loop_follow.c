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
 * That is good for him, and may be bad for all others: SCHED_IDLE gets what CPU time he leaves, and if he computes, or his
 * request waits, theirs wait. So it begins when he has asked for some time, and others little, and ends when others ask, and
 * when nothing was asked or answered for a millisecond: the watcher looks, from another CPU. If a request waits that was not
 * expected to, then it does not begin again for a while.
 *
 * Sources: select_idle_sibling() in kernel/sched/fair.c; fuse_dev_queue_req() in fs/fuse/dev.c.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "monotonic.h"

#define OFTEN 16		/* requests that he is ahead of all others */
#define PER_OTHER 4		/* so many less for each of somebody else's */
#define LASTING_MS 2		/* he asks for, before it begins */
#define PAUSE_MS 1		/* without a request or an answer */
#define LOOK 8			/* requests from one look where he is to the next, which takes 2 µs */
#define MOMENT_MS 1		/* from one look of the watcher to the next */
#define NOT_AFTER_SURPRISE_MS 10000
#define STAT_CPU 39		/* the field of /proc/PID/stat: proc_pid_stat(5) */

/* --- whom to follow: lock held ------------------------------------------------------------------------------------ */

static void set_policy(pid_t tid, int policy)
{
	const struct sched_param parameters = {};

	sched_setscheduler(tid, policy, &parameters);
}

/* The worker may be where it likes again, and has its share of the CPU; the watcher, too. */
static void set_free(const struct loop *loop, pid_t tid, const cpu_set_t *allowed)
{
	sched_setaffinity(tid, sizeof(*allowed), allowed);
	pthread_setaffinity_np(loop->watcher, sizeof(*allowed), allowed);
	set_policy(tid, SCHED_BATCH);
}

static void not_within(struct loop *loop, long ms)
{
	struct timespec then = after_ms(ms);

	if (is_before(&loop->follow_from, &then))
		loop->follow_from = then;
}

/* What it does then, it does itself: a thread that it started would be bound and SCHED_IDLE, too. */
static void follow_begin(struct worker *self)
{
	/* Without CAP_SYS_NICE a thread stays SCHED_IDLE for ever. */
	if (!identity_has(CAP_SYS_NICE) || sched_getaffinity(self->tid, sizeof(self->allowed), &self->allowed) < 0)
		return;
	if (CPU_COUNT(&self->allowed) == sysconf(_SC_NPROCESSORS_ONLN))
		memset(&self->allowed, ~0, sizeof(self->allowed));	/* those to come as well */
	self->loop->follower = self;
	self->cpu = -1;
	self->until_look = 0;
	pthread_cond_signal(&self->loop->watch);
}

static void follow_end(struct loop *loop)
{
	struct worker *worker = loop->follower;

	loop->follower = NULL;
	loop->lead = 0;
	set_free(loop, worker->tid, &worker->allowed);
	fill_up_readers(loop);
}

static void let_go(struct loop *loop)
{
	if (loop->follower->may_block)
		stop_reading(loop->follower, true);
	else
		follow_end(loop);
}

void follow_stop(struct worker *worker, bool expected)
{
	struct loop *loop = worker->loop;

	if (!expected)
		not_within(loop, NOT_AFTER_SURPRISE_MS);
	if (loop->follower == worker)
		follow_end(loop);
}

void follow_check(struct loop *loop)
{
	if (loop->follower && is_past(&loop->pause_from))
		let_go(loop);
}

void follow_answered(struct worker *self)
{
	struct loop *loop = self->loop;

	if (!loop->follower || loop->follower == self)
		loop->pause_from = after_ms(PAUSE_MS);
}

/*
 * Without the lock, and not by its condition: the follower may have it, and no CPU for as long as others want that. Then it is
 * as good as they are.
 */
void follow_wait(struct loop *loop)
{
	const struct timespec moment = {.tv_nsec = MOMENT_MS * 1000 * 1000};
	const cpu_set_t allowed = loop->follower->allowed;
	const pid_t tid = loop->follower->tid;
	struct timespec deadline;

	pthread_mutex_unlock(&loop->lock);
	nanosleep(&moment, NULL);
	deadline = after_ms(MOMENT_MS);
	if (pthread_mutex_clocklock(&loop->lock, CLOCK_MONOTONIC, &deadline) == 0)
		return;
	set_free(loop, tid, &allowed);
	pthread_mutex_lock(&loop->lock);
	not_within(loop, NOT_AFTER_SURPRISE_MS);
	if (loop->follower)
		let_go(loop);
}

/* The caller is whoever asks most (loop.h says what his lead is). */
static void count(struct loop *loop, uint32_t tid)
{
	if (is_past(&loop->pause_from))
		loop->lead = 0;
	loop->pause_from = after_ms(PAUSE_MS);
	if (tid != loop->caller) {
		loop->lead -= loop->lead > PER_OTHER ? PER_OTHER : loop->lead;
		if (!loop->lead)
			loop->caller = tid;
	}
	if (!loop->lead)
		not_within(loop, LASTING_MS);
	if (tid && tid == loop->caller && loop->lead < OFTEN)
		loop->lead++;
}

bool follow_caller(struct worker *self)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	uint32_t tid = identity_visible_tid(header->pid);	/* 0, who is nowhere to be seen, is among the others */
	struct loop *loop = self->loop;

	if (!has_caller(header->opcode))
		return false;
	count(loop, tid);
	if (loop->follower && loop->lead < PER_OTHER)
		let_go(loop);
	else if (!loop->follower && loop->lead == OFTEN && is_past(&loop->follow_from))
		follow_begin(self);
	if (loop->follower != self || loop->caller != tid || self->until_look--)
		return false;
	self->until_look = LOOK - 1;
	return true;
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

/* The watcher, which is woken often meanwhile, goes elsewhere. Returns false if self may not go there. */
static bool go_to(struct worker *self, int cpu)
{
	cpu_set_t there, elsewhere = self->allowed;

	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &self->allowed))
		return false;
	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
	CPU_CLR(cpu, &elsewhere);
	if (CPU_COUNT(&elsewhere))
		pthread_setaffinity_np(self->loop->watcher, sizeof(elsewhere), &elsewhere);
	self->cpu = cpu;
	return sched_setaffinity(self->tid, sizeof(there), &there) == 0;
}

/*
 * The answer has been sent: who makes the caller's directory in /proc slow makes nobody wait. Without the lock, since others
 * may get the CPU at each of these calls. Self may have been let go meanwhile.
 */
void follow_look(struct worker *self)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	struct loop *loop = self->loop;
	bool is_new = self->cpu < 0;
	int cpu = cpu_of(header->pid);
	bool is_there = cpu >= 0 && (cpu == self->cpu || go_to(self, cpu));

	if (is_new)
		set_policy(self->tid, SCHED_IDLE);
	pthread_mutex_lock(&loop->lock);
	if (loop->follower != self)
		set_free(loop, self->tid, &self->allowed);
	else if (!is_there)
		follow_stop(self, true);
	pthread_mutex_unlock(&loop->lock);
}
