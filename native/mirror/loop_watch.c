/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watcher of a connection's workers: makes somebody else the leader when the leader waits unexpectedly, ends the
 * system calls of those whose callers were interrupted, and joins workers that are not needed any more.
 */
#include "loop.h"

#include <time.h>

#define INTERVAL_NS (50 * 1000 * 1000)

/* --- interrupts -------------------------------------------------------------------------------------------------- */

static void block_interrupts(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, INTERRUPT_SIGNAL);
	pthread_sigmask(how, &set, NULL);
}

void loop_interruptible_begin(struct request *request)
{
	struct worker *self = request->worker;

	pthread_mutex_lock(&self->loop->lock);
	self->interruptible = true;
	pthread_cond_signal(&self->loop->watch);
	pthread_mutex_unlock(&self->loop->lock);
	block_interrupts(SIG_UNBLOCK);
}

void loop_interruptible_end(struct request *request)
{
	struct worker *self = request->worker;

	block_interrupts(SIG_BLOCK);
	pthread_mutex_lock(&self->loop->lock);
	self->interruptible = false;
	pthread_mutex_unlock(&self->loop->lock);
}

/*
 * The kernel sends this after the request itself was read, and reads are one after the other: so the request is known
 * here, or has been answered, or waits with somebody else. One that cannot be interrupted is answered in its own time.
 */
void handle_interrupt(struct request *request)
{
	const struct fuse_interrupt_in *in = request->body;
	struct loop *loop = request->worker->loop;
	bool found = false;

	pthread_mutex_lock(&loop->lock);
	for (struct worker *worker = loop->workers; worker; worker = worker->next) {
		if (worker != request->worker && worker->unique == in->unique)
			found = worker->interrupted = true;
	}
	if (found)
		pthread_cond_signal(&loop->watch);
	pthread_mutex_unlock(&loop->lock);
	if (!found)
		control_queue_interrupt(request->mirror, in->unique);
}

/* --- the watcher ------------------------------------------------------------------------------------------------- */

/*
 * Signal every worker that is to be interrupted, and say whether there is any. A signal may come just before the
 * system call that it is meant for: it is sent again until the worker is done.
 */
static bool signal_interrupted(struct loop *loop)
{
	bool any = false;

	for (struct worker *worker = loop->workers; worker; worker = worker->next) {
		if (worker->interruptible && worker->interrupted) {
			pthread_kill(worker->thread, INTERRUPT_SIGNAL);
			any = true;
		}
	}
	return any;
}

static void join_retired(struct loop *loop)
{
	struct worker *worker = loop->retired, *next;

	loop->retired = NULL;
	pthread_mutex_unlock(&loop->lock);
	for (; worker; worker = next) {
		next = worker->next;
		pthread_join(worker->thread, NULL);
		worker_free(worker);
	}
	pthread_mutex_lock(&loop->lock);
}

/* Returns true if the time is up, false if woken before. */
static bool wait_interval(struct loop *loop)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += INTERVAL_NS;
	if (until.tv_nsec >= 1000 * 1000 * 1000) {
		until.tv_nsec -= 1000 * 1000 * 1000;
		until.tv_sec++;
	}
	return pthread_cond_timedwait(&loop->watch, &loop->lock, &until) == ETIMEDOUT;
}

/* Sleeps while nothing is being served, so that an idle mount costs nothing. */
static void sleep_until_needed(struct loop *loop)
{
	loop->watcher_asleep = true;
	pthread_cond_wait(&loop->watch, &loop->lock);
	loop->watcher_asleep = false;
}

void *watcher_main(void *argument)
{
	struct loop *loop = argument;

	pthread_mutex_lock(&loop->lock);
	while (!loop->ended || loop->n_workers || loop->retired) {
		uint64_t seen = loop->requests;

		if (loop->retired)
			join_retired(loop);
		else if (!signal_interrupted(loop) && (loop->ended || !loop->serving))
			sleep_until_needed(loop);
		else if (wait_interval(loop) && loop->serving && loop->requests == seen)
			hand_over(loop);
	}
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}
