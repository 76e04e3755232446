/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads requests and answers them, in threads that follow each other: one at a time, the leader, reads a request and
 * handles it itself, so that a quick request costs no change of thread. A handler that may wait for others makes
 * another thread the leader first (loop_may_block). The watcher does so for one that waits unexpectedly.
 *
 * From loop_start until the connection ends there is exactly one leader, and it reads, handles a request, or was woken
 * to do so: leadership passes only from hand_over(), under the lock, to a thread that looks at it under the lock.
 */
#include "loop.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_IDLE 4

/* --- who leads --------------------------------------------------------------------------------------------------- */

void hand_over(struct loop *loop)
{
	struct worker *successor = loop->idle;

	if (loop->ended)
		return;
	if (successor) {
		loop->idle = successor->next_idle;
		loop->n_idle--;
	} else {
		successor = worker_create(loop);
		if (!successor)
			return;
	}
	loop->leader = successor;
	loop->serving = false;
	pthread_cond_signal(&successor->promoted);
}

/* Wait to become the leader. Returns false if the worker is not needed any more. */
static bool stand_by(struct worker *self)
{
	struct loop *loop = self->loop;

	if (loop->leader != self) {
		if (loop->ended || loop->n_idle >= MAX_IDLE)
			return false;
		self->next_idle = loop->idle;
		loop->idle = self;
		loop->n_idle++;
		while (loop->leader != self && !loop->ended)
			pthread_cond_wait(&self->promoted, &loop->lock);
	}
	return !loop->ended;
}

static void end(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->ended = true;
	for (struct worker *worker = loop->workers; worker; worker = worker->next)
		pthread_cond_signal(&worker->promoted);
	pthread_cond_signal(&loop->watch);
	pthread_cond_broadcast(&loop->over);
	pthread_mutex_unlock(&loop->lock);
	control_queue_end(loop->mirror);
}

/* --- one request ------------------------------------------------------------------------------------------------- */

static void begin(struct worker *self, uint64_t unique)
{
	struct loop *loop = self->loop;

	pthread_mutex_lock(&loop->lock);
	self->unique = unique;
	loop->requests++;
	loop->serving = true;
	if (loop->watcher_asleep)
		pthread_cond_signal(&loop->watch);
	pthread_mutex_unlock(&loop->lock);
}

/* Returns whether self is still the leader. */
static bool finish(struct worker *self)
{
	struct loop *loop = self->loop;
	bool leads;

	pthread_mutex_lock(&loop->lock);
	self->unique = 0;
	self->interrupted = false;
	leads = loop->leader == self;
	if (leads)
		loop->serving = false;
	pthread_mutex_unlock(&loop->lock);
	return leads;
}

/* Handle the message of that size in the worker's buffer. Returns whether self is still the leader. */
static bool serve(struct worker *self, size_t size)
{
	const struct mirror_in_header *header = (const struct mirror_in_header *)self->request;
	struct request request = {
		.mirror = self->loop->mirror,
		.worker = self,
		.header = (const struct fuse_in_header *)self->request,
		.body = header + 1,
	};
	size_t extensions;

	if (size < sizeof(*header))
		return true;
	begin(self, header->unique);
	extensions = header->total_extlen * 8u;
	if (header->len != size || extensions > size - sizeof(*header)) {
		reply_error(&request, -EIO);
	} else {
		request.body_size = size - sizeof(*header) - extensions;
		request.mirror->handle(&request);
	}
	return finish(self);
}

static void lead(struct worker *self)
{
	struct loop *loop = self->loop;
	ssize_t size;

	for (;;) {
		size = read(loop->mirror->fuse_fd, self->request, REQUEST_SIZE);
		if (size > 0) {
			if (!serve(self, (size_t)size))
				return;
		} else if (size == 0 || (errno != EINTR && errno != EAGAIN && errno != ENOENT)) {
			/* ENODEV: unmounted or aborted. ENOENT: the request was interrupted while it was read. */
			end(loop);
			return;
		}
	}
}

/* A umask of the thread's own, so that modes arrive as they were asked for; FUSE has applied the caller's. */
static void become_worker(void)
{
	struct sched_param parameters = {};

	if (unshare(CLONE_FS) < 0) {
		perror("cgfs: cannot have a file creation mask for one thread");
		abort();
	}
	umask(0);
	sched_setscheduler(0, SCHED_BATCH, &parameters);
}

void *worker_main(void *argument)
{
	struct worker *self = argument;
	struct loop *loop = self->loop;

	become_worker();
	pthread_mutex_lock(&loop->lock);
	while (stand_by(self)) {
		pthread_mutex_unlock(&loop->lock);
		lead(self);
		pthread_mutex_lock(&loop->lock);
	}
	worker_retire(self);
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}

void loop_may_block(struct request *request)
{
	struct loop *loop = request->worker->loop;

	pthread_mutex_lock(&loop->lock);
	if (loop->leader == request->worker)
		hand_over(loop);
	pthread_mutex_unlock(&loop->lock);
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static void on_interrupt_signal(int signal)
{
	(void)signal;	/* that the system call ends with EINTR is all that is wanted */
}

static struct loop *loop_allocate(struct cgfs_mirror *mirror)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	pthread_condattr_t monotonic;

	if (!loop)
		return NULL;
	loop->mirror = mirror;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->over, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&loop->watch, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return loop;
}

static void loop_free(struct loop *loop)
{
	pthread_cond_destroy(&loop->watch);
	pthread_cond_destroy(&loop->over);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static int start_first_worker(struct loop *loop)
{
	struct worker *first;

	pthread_mutex_lock(&loop->lock);
	first = loop->leader = worker_create(loop);
	loop->ended = !first;
	pthread_cond_signal(&loop->watch);
	pthread_mutex_unlock(&loop->lock);
	return first ? 0 : -EAGAIN;
}

int loop_start(struct cgfs_mirror *mirror)
{
	struct sigaction action = {.sa_handler = on_interrupt_signal};	/* without SA_RESTART */
	struct loop *loop = loop_allocate(mirror);
	int error;

	if (!loop)
		return -ENOMEM;
	sigaction(INTERRUPT_SIGNAL, &action, NULL);
	error = start_thread(&loop->watcher, watcher_main, loop);
	if (error) {
		loop_free(loop);
		return error;
	}
	mirror->loop = loop;
	error = start_first_worker(loop);
	if (error)
		loop_stop(mirror);
	return error;
}

void loop_wait_for_end(struct cgfs_mirror *mirror)
{
	struct loop *loop = mirror->loop;

	pthread_mutex_lock(&loop->lock);
	while (!loop->ended)
		pthread_cond_wait(&loop->over, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct cgfs_mirror *mirror)
{
	pthread_join(mirror->loop->watcher, NULL);
	loop_free(mirror->loop);
	mirror->loop = NULL;
}
