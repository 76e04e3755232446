/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that serve a connection, and their buffers: how they come and go. What they do is in loop.c. */
#include "loop.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_SIZE (1024 * 1024)	/* Python runs in workers, too */

void worker_free(struct worker *worker)
{
	if (worker->request)
		munmap(worker->request, REQUEST_SIZE);
	if (worker->reply)
		munmap(worker->reply, REPLY_SIZE);
	pthread_cond_destroy(&worker->promoted);
	free(worker);
}

/* Pages that nobody touches cost nothing, so that a worker which never sees a large request stays small. */
static char *map_buffer(size_t size)
{
	void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return buffer == MAP_FAILED ? NULL : buffer;
}

static struct worker *worker_allocate(struct loop *loop)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->loop = loop;
	pthread_cond_init(&worker->promoted, NULL);
	worker->request = map_buffer(REQUEST_SIZE);
	worker->reply = map_buffer(REPLY_SIZE);
	if (worker->request && worker->reply)
		return worker;
	worker_free(worker);
	return NULL;
}

int start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
	pthread_attr_t attributes;
	sigset_t all;
	int error;

	sigfillset(&all);
	error = pthread_attr_init(&attributes);
	if (error)
		return -error;
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setsigmask_np(&attributes, &all);
	error = pthread_create(thread, &attributes, function, argument);
	pthread_attr_destroy(&attributes);
	return -error;
}

int keep_descriptors(const int fds[2])
{
	unsigned int one = (unsigned int)fds[0], other = (unsigned int)fds[1];
	unsigned int low = one < other ? one : other, high = one < other ? other : one;

	if (unshare(CLONE_FILES) < 0)
		return -errno;
	/* A range that is empty is EINVAL. */
	close_range(3, low - 1, 0);
	close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
	return 0;
}

struct worker *worker_create(struct loop *loop)
{
	struct worker *worker;

	if (loop->n_workers >= MAX_WORKERS)
		return NULL;
	worker = worker_allocate(loop);
	if (!worker)
		return NULL;
	if (start_thread(&worker->thread, worker_main, worker)) {
		worker_free(worker);
		return NULL;
	}
	LIST_INSERT_HEAD(&loop->workers, worker, next);
	loop->n_workers++;
	return worker;
}

void worker_retire(struct worker *worker)
{
	struct loop *loop = worker->loop;

	follow_stop(worker, true);
	LIST_REMOVE(worker, next);
	loop->n_workers--;
	LIST_INSERT_HEAD(&loop->retired, worker, next);
	wake_watcher(loop);
}
