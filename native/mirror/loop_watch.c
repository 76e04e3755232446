/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watcher of a connection's workers: gets another reader where one waits unexpectedly, ends the system calls of those
 * whose callers were interrupted, and joins workers that are not needed any more.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "loop.h"
#include "monotonic.h"

#define INTERVAL_MS 50

/* --- interrupts -------------------------------------------------------------------------------------------------- */

/*
 * The signal is sent to a worker in between only. One that comes a moment late finds it where nothing ends by a signal but
 * the wait for the next request, which is begun anew.
 */
void loop_interruptible_begin(struct request *request)
{
	struct worker *self = request->worker;

	pthread_mutex_lock(&self->loop->lock);
	self->interruptible = true;
	if (self->interrupted)
		wake_watcher(self->loop);
	pthread_mutex_unlock(&self->loop->lock);
}

void loop_interruptible_end(struct request *request)
{
	struct worker *self = request->worker;

	pthread_mutex_lock(&self->loop->lock);
	self->interruptible = false;
	pthread_mutex_unlock(&self->loop->lock);
}

/*
 * The kernel sends this after the request itself was read: so the request is known here, or has been answered, or another
 * reader is just about to take it up.
 */
void handle_interrupt(struct request *request)
{
	const struct fuse_interrupt_in *in = request->body;
	struct loop *loop = request->worker->loop;
	struct worker *worker;
	bool found = false;

	pthread_mutex_lock(&loop->lock);
	LIST_FOREACH(worker, &loop->workers, next) {
		if (worker != request->worker && worker->unique == in->unique)
			found = worker->interrupted = true;
	}
	if (found)
		wake_watcher(loop);
	else if (!share_interrupt(loop, in->unique))
		loop->early[loop->n_early++ % N_EARLY] = in->unique;
	pthread_mutex_unlock(&loop->lock);
}

/* Most that are kept here are of requests that were answered long ago. They do no harm: no request has that number again. */
bool was_interrupted_early(struct loop *loop, uint64_t unique)
{
	for (size_t i = 0; i < N_EARLY; i++) {
		if (loop->early[i] == unique)
			return true;
	}
	return false;
}

/* --- the watcher ------------------------------------------------------------------------------------------------- */

/*
 * Signal every worker that is to be interrupted, and say whether there is any. A signal may come just before the
 * system call that it is meant for: it is sent again until the worker is done.
 */
static bool signal_interrupted(struct loop *loop)
{
	struct worker *worker;
	bool any = false;

	LIST_FOREACH(worker, &loop->workers, next) {
		if (worker->interruptible && worker->interrupted) {
			pthread_kill(worker->thread, INTERRUPT_SIGNAL);
			any = true;
		}
	}
	return any;
}

/*
 * A reader that has had the same request at the last look waits, and stops being one. Says whether any has a request, or
 * follows somebody: then it is to be looked at again.
 */
static bool look_at_readers(struct loop *loop, bool interval_is_over)
{
	struct worker *worker;
	bool any;

	follow_check(loop);
	any = loop->follower != NULL;
	LIST_FOREACH(worker, &loop->workers, next) {
		if (!worker->reads || !worker->unique)
			continue;
		any = true;
		if (!interval_is_over)
			continue;
		if (worker->seen == worker->unique)
			stop_reading(worker, false);
		worker->seen = worker->unique;
	}
	return any;
}

static void join_retired(struct loop *loop)
{
	struct worker *worker;

	while ((worker = LIST_FIRST(&loop->retired))) {
		LIST_REMOVE(worker, next);
		pthread_mutex_unlock(&loop->lock);
		pthread_join(worker->thread, NULL);
		worker_free(worker);
		pthread_mutex_lock(&loop->lock);
	}
}

/* For a call, for so long at most; -1: for ever. Others have the lock meanwhile. */
static void wait(struct loop *loop, int ms)
{
	struct pollfd calls[2] = {{.fd = loop->wake_fd, .events = POLLIN}, {.fd = loop->alarm_fd, .events = POLLIN}};
	uint64_t count;

	pthread_mutex_unlock(&loop->lock);
	poll(calls, 2, ms);
	for (int i = 0; i < 2; i++) {
		if (calls[i].revents)
			read(calls[i].fd, &count, sizeof(count));
	}
	follow_lock(loop);
}

void wake_watcher(struct loop *loop)
{
	loop->watcher_asleep = false;
	eventfd_write(loop->wake_fd, 1);
}

/* Sleeps while nothing is being served, so that an idle mount costs nothing. */
static void sleep_until_needed(struct loop *loop)
{
	loop->watcher_asleep = true;
	wait(loop, -1);
	loop->watcher_asleep = false;
}

/* Returns whether the interval is over, which ends then. */
static bool wait_in_interval(struct loop *loop, const struct timespec *then)
{
	wait(loop, ms_until(then));
	return is_past(then);
}

void *watcher_main(void *argument)
{
	struct loop *loop = argument;
	struct timespec until = after_ms(INTERVAL_MS);
	bool is_over = false;

	pthread_mutex_lock(&loop->lock);
	while (!loop->ended || loop->n_workers || !LIST_EMPTY(&loop->retired)) {
		bool interrupts = signal_interrupted(loop);
		bool requests = look_at_readers(loop, is_over);

		if (is_over)
			until = after_ms(INTERVAL_MS);
		is_over = false;
		if (!LIST_EMPTY(&loop->retired))
			join_retired(loop);
		else if (interrupts || (requests && !loop->ended))
			is_over = wait_in_interval(loop, &until);
		else
			sleep_until_needed(loop);
	}
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}
