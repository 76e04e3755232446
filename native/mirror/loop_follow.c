/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever asks again and again is followed: one reader serves him, on his own CPU.
 *
 * The scheduler puts who is woken on an idle CPU. So the caller and his reader have one each, which goes idle whenever the
 * other one works, and to start an idle CPU takes longer than all the rest of an open: 20 to 45 µs on a virtual machine. Where
 * both share one, nobody waits for that: the caller sleeps and the reader goes on; it sleeps and the caller goes on. For that,
 *
 * - the reader is bound to the caller's CPU. There, its next request is at hand when it has answered, since the caller goes on
 *   at once, and it only when he waits. If it has to wait for one, it looks whether he is on another CPU now;
 * - it is SCHED_IDLE: to the scheduler, a CPU that has nothing else to do is an idle one, and the caller, woken, stays there;
 * - no other reader waits for requests: the kernel would wake it for his next RELEASE, elsewhere.
 *
 * That is good for him, and may be bad for all others: SCHED_IDLE gets what CPU time he leaves, and if he computes, or his
 * request waits, theirs wait. So it begins when he has asked for some time, and others little, and ends when others ask, and
 * when nothing was asked or answered for a millisecond: then the watcher is woken by an alarm, which the reader puts off while
 * it is at work. If a request waits that was not expected to, then it does not begin again for a while.
 *
 * Sources: select_idle_sibling() in kernel/sched/fair.c; fuse_dev_queue_req() in fs/fuse/dev.c.
 */
#include <linux/capability.h>
#include <string.h>
#include <sys/timerfd.h>

#include "identity.h"
#include "loop.h"
#include "monotonic.h"

#define OFTEN 16		/* requests that he is ahead of all others */
#define PER_OTHER 4		/* so many less for each of somebody else's */
#define LASTING_US 500		/* he asks for, before it begins */
#define PAUSE_US 1000		/* without a request or an answer */
#define PUT_OFF_US 500		/* from one time that the alarm is put off to the next */
#define AT_HAND_US 5		/* after an answer: a request that is read within that was at hand */
#define LOOK 8			/* requests from one look where he is to the next, at least: it takes 2 µs */
#define LOCK_MS 1		/* that the watcher waits for the lock */
#define NOT_AFTER_SURPRISE_US 10000000
#define NOT_AFTER_FAILURE_US 100000
#define STAT_CPU 39		/* proc_pid_stat(5) */

/* --- whom to follow: lock held ------------------------------------------------------------------------------------ */

static void set_policy(pid_t tid, int policy)
{
	const struct sched_param parameters = {};

	sched_setscheduler(tid, policy, &parameters);
}

/* The worker may be where it likes again, and has its share of the CPU. */
static void set_free(pid_t tid, const cpu_set_t *allowed)
{
	sched_setaffinity(tid, sizeof(*allowed), allowed);
	set_policy(tid, SCHED_BATCH);
}

/* It rings when the follower has answered nothing for PAUSE_US, or PUT_OFF_US more at most, and then again and again. */
static void put_off_alarm(struct worker *self, uint64_t now)
{
	const struct itimerspec then = {
		.it_value.tv_nsec = (PAUSE_US + PUT_OFF_US) * 1000,
		.it_interval.tv_nsec = PAUSE_US * 1000,
	};

	if (now < self->put_off_from)
		return;
	self->put_off_from = now + PUT_OFF_US;
	timerfd_settime(self->loop->alarm_fd, 0, &then, NULL);
}

static void end_alarm(const struct loop *loop)
{
	const struct itimerspec never = {};

	timerfd_settime(loop->alarm_fd, 0, &never, NULL);
}

static void not_within(struct loop *loop, unsigned int us)
{
	uint64_t then = monotonic_us() + us;

	if (loop->follow_from_us < then)
		loop->follow_from_us = then;
}

/* What it does then, it does itself: a thread that it started would be bound and SCHED_IDLE, too. */
static void follow_begin(struct worker *self, uint64_t now)
{
	/* Without CAP_SYS_NICE a thread stays SCHED_IDLE for ever. */
	if (!identity_has(CAP_SYS_NICE) || sched_getaffinity(self->tid, sizeof(self->allowed), &self->allowed) < 0) {
		not_within(self->loop, NOT_AFTER_FAILURE_US);
		return;
	}
	if (CPU_COUNT(&self->allowed) == sysconf(_SC_NPROCESSORS_ONLN))
		memset(&self->allowed, ~0, sizeof(self->allowed));	/* those to come as well */
	self->cpu = -1;
	self->is_lost = true;
	self->until_look = 0;
	self->put_off_from = 0;
	put_off_alarm(self, now);
	self->loop->follower = self;	/* complete: follow_lock() */
}

static void follow_end(struct loop *loop)
{
	struct worker *worker = loop->follower;

	loop->follower = NULL;
	loop->lead = 0;
	end_alarm(loop);
	set_free(worker->tid, &worker->allowed);
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
		not_within(loop, NOT_AFTER_SURPRISE_US);
	if (loop->follower == worker)
		follow_end(loop);
}

static bool is_pause(const struct loop *loop, uint64_t now)
{
	return now >= loop->last_us + PAUSE_US;
}

void follow_check(struct loop *loop)
{
	if (loop->follower && is_pause(loop, monotonic_us()))
		let_go(loop);
}

void follow_answered(struct worker *self)
{
	struct loop *loop = self->loop;

	if (loop->follower && loop->follower != self)
		return;
	loop->last_us = monotonic_us();
	if (loop->follower)
		put_off_alarm(self, loop->last_us);
}

/* It may have no CPU for as long as others want that: then it is as good as they are. */
void follow_lock(struct loop *loop)
{
	struct timespec deadline = after_ms(LOCK_MS);
	bool rescued = false;

	while (pthread_mutex_clocklock(&loop->lock, CLOCK_MONOTONIC, &deadline)) {
		const struct worker *follower = loop->follower;

		if (follower)
			set_free(follower->tid, &follower->allowed);
		rescued |= follower != NULL;
		deadline = after_ms(LOCK_MS);
	}
	if (!rescued)
		return;
	not_within(loop, NOT_AFTER_FAILURE_US);
	if (loop->follower)
		let_go(loop);
}

/* Who asks most, and how far he is ahead (loop.h). */
static void count(struct loop *loop, uint32_t tid, uint64_t now)
{
	if (is_pause(loop, now))
		loop->lead = 0;
	loop->last_us = now;
	if (tid != loop->busiest) {
		loop->lead -= loop->lead > PER_OTHER ? PER_OTHER : loop->lead;
		if (!loop->lead)
			loop->busiest = tid;
	}
	if (!loop->lead)
		not_within(loop, LASTING_US);
	if (tid && tid == loop->busiest && loop->lead < OFTEN)
		loop->lead++;
}

bool follow_caller(struct worker *self)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	uint32_t tid = identity_visible_tid(header->pid);	/* 0, who is nowhere to be seen, is among the others */
	struct loop *loop = self->loop;
	uint64_t now = monotonic_us();

	if (loop->follower == self && now > loop->last_us + AT_HAND_US)
		self->is_lost = true;
	if (!has_caller(header->opcode))
		return false;
	count(loop, tid, now);
	if (loop->follower && loop->lead < PER_OTHER)
		let_go(loop);
	else if (!loop->follower && loop->lead == OFTEN && now >= loop->follow_from_us)
		follow_begin(self, now);
	if (loop->follower != self || loop->busiest != tid)
		return false;
	if (self->until_look)
		self->until_look--;
	if (!self->is_lost || self->until_look)
		return false;
	self->is_lost = false;
	self->until_look = LOOK;
	return true;
}

/* --- where he is --------------------------------------------------------------------------------------------------- */

/* Returns false if self may not go there. */
static bool go_to(struct worker *self, int cpu)
{
	cpu_set_t there;

	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &self->allowed))
		return false;
	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
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
	int cpu = (int)task_stat(header->pid, STAT_CPU);	/* or where he was when he fell asleep */
	bool is_there = cpu >= 0 && (cpu == self->cpu || go_to(self, cpu));

	if (is_new && is_there)
		set_policy(self->tid, SCHED_IDLE);
	pthread_mutex_lock(&loop->lock);
	if (!is_there)
		not_within(loop, NOT_AFTER_FAILURE_US);
	if (loop->follower != self)
		set_free(self->tid, &self->allowed);
	else if (!is_there)
		follow_stop(self, true);
	pthread_mutex_unlock(&loop->lock);
}
