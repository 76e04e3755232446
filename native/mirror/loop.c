/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads requests and answers them. A few threads, the readers, read the connection, and each handles what it has read
 * itself, so that a quick request costs no change of thread. A handler that may wait for others says so before
 * (loop_may_block): its thread is no reader then, until it has answered, and if it was the last one, somebody else becomes
 * one. The watcher does the same for one that waits unexpectedly, and for the follower (loop_follow.c), if it waits.
 *
 * From loop_start until the connection ends there is always a reader: stop_reading() gets another before it takes the last
 * away, and finish() takes away only who is too much.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "loop.h"
#include "monotonic.h"
#include "user.h"

#define MAX_IDLE 16
#define LONGEST_END_MS 2000

/* --- who reads --------------------------------------------------------------------------------------------------- */

static void start_reading(struct worker *worker)
{
	worker->reads = true;
	worker->loop->n_readers++;
}

/* A new worker becomes a reader by itself, when there are not enough. */
static bool have_another_reader(struct loop *loop)
{
	struct worker *worker = SLIST_FIRST(&loop->idle);

	if (!worker)
		return worker_create(loop);
	SLIST_REMOVE_HEAD(&loop->idle, next_idle);
	loop->n_idle--;
	start_reading(worker);
	pthread_cond_signal(&worker->promoted);
	return true;
}

void stop_reading(struct worker *worker, bool expected)
{
	struct loop *loop = worker->loop;

	follow_stop(worker, expected);
	if (loop->ended || (loop->n_readers == 1 && !have_another_reader(loop)))
		return;
	worker->reads = false;
	loop->n_readers--;
	share_take(worker, expected);
}

static unsigned int readers_wanted(const struct loop *loop)
{
	return loop->follower ? 1 : loop->mirror->n_readers;
}

void fill_up_readers(struct loop *loop)
{
	for (unsigned int n = loop->n_readers; n < readers_wanted(loop) && !loop->ended; n++)
		have_another_reader(loop);
}

/* Wait to become a reader. Returns false if the worker is not needed any more. */
static bool stand_by(struct worker *self)
{
	struct loop *loop = self->loop;

	if (!self->reads && !loop->ended && loop->n_readers < readers_wanted(loop))
		start_reading(self);
	if (!self->reads) {
		if (loop->ended || loop->n_idle >= MAX_IDLE)
			return false;
		SLIST_INSERT_HEAD(&loop->idle, self, next_idle);
		loop->n_idle++;
		while (!self->reads && !loop->ended)
			pthread_cond_wait(&self->promoted, &loop->lock);
	}
	return !loop->ended;
}

static void end(struct loop *loop)
{
	const struct cgfs_mirror *mirror = loop->mirror;
	struct worker *worker;
	bool first;

	pthread_mutex_lock(&loop->lock);
	first = !loop->ended;
	loop->ended = true;
	LIST_FOREACH(worker, &loop->workers, next)
		pthread_cond_signal(&worker->promoted);
	wake_watcher(loop);
	pthread_cond_broadcast(&loop->over);
	pthread_mutex_unlock(&loop->lock);
	if (first)
		mirror->control->ended(mirror->control_context);
}

/* --- one request ------------------------------------------------------------------------------------------------- */

static struct cgfs_caller caller_of(const struct fuse_in_header *header)
{
	return (struct cgfs_caller){.tid = header->pid, .uid = header->uid, .gid = header->gid};
}

/*
 * Find out who is behind the caller. On a kernel before 6.11 it may take as long as the caller likes (user.c): so the request
 * is at hand already, and the watcher gets another reader if need be. Lock held, but not meanwhile.
 */
static void ask_for_user(struct worker *self, const struct fuse_in_header *header)
{
	const struct cgfs_caller caller = caller_of(header);
	uint64_t user;

	pthread_mutex_unlock(&self->loop->lock);
	user = user_of(&caller);
	pthread_mutex_lock(&self->loop->lock);
	self->user = user;
}

/* Take up the request in the worker's buffer. Returns false if it was kept for later, or refused. */
static bool begin(struct worker *self, size_t size)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	struct loop *loop = self->loop;
	bool deferred = false;

	pthread_mutex_lock(&loop->lock);
	self->unique = header->unique;
	if (self->reads)	/* else it goes on with what was kept of the same user's */
		self->user = header->uid;
	self->interrupted = loop->n_early && was_interrupted_early(loop, header->unique);
	if (loop->watcher_asleep)
		wake_watcher(loop);
	if (self->reads && share_is_crowded(loop))
		ask_for_user(self, header);
	self->is_to_look = self->reads && follow_caller(self);
	if (self->reads)
		deferred = share_defer(self, size);
	if (deferred) {
		if (self->interrupted)
			share_interrupt(loop, header->unique);
		self->unique = 0;
		self->interrupted = false;
	} else if (self->reads && share_expects_surprise(self)) {
		stop_reading(self, true);
	}
	pthread_mutex_unlock(&loop->lock);
	return !deferred;
}

/* Returns the size of the next request to handle, which is in the worker's buffer, or 0. */
static size_t finish(struct worker *self, bool *reads)
{
	struct loop *loop = self->loop;
	size_t next;

	pthread_mutex_lock(&loop->lock);
	self->unique = 0;
	self->interrupted = false;
	self->may_block = false;
	next = share_give(self);
	follow_answered(self);
	if (self->reads && loop->n_readers > readers_wanted(loop) && loop->follower != self) {
		self->reads = false;
		loop->n_readers--;
	}
	*reads = self->reads;
	pthread_mutex_unlock(&loop->lock);
	return next;
}

static void handle(struct worker *self, size_t size)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)self->request;
	struct request request = {
		.mirror = self->loop->mirror,
		.worker = self,
		.header = header,
		.caller = caller_of(header),
		.body = header + 1,
	};
	size_t extensions = header->total_extlen * 8u;

	if (header->len != size || extensions > size - sizeof(*header)) {
		reply_error(&request, -EIO);
		return;
	}
	request.body_size = size - sizeof(*header) - extensions;
	request.mirror->handle(&request);
}

/* Handle the message of that size in the worker's buffer. Returns whether self is still a reader. */
static bool serve(struct worker *self, size_t size)
{
	bool reads = true;

	if (size < sizeof(struct fuse_in_header))
		return true;
	while (size && begin(self, size)) {
		handle(self, size);
		if (self->is_to_look)
			follow_look(self);
		size = finish(self, &reads);
	}
	return reads;
}

static void read_requests(struct worker *self)
{
	struct loop *loop = self->loop;
	ssize_t size;

	for (;;) {
		/* Not read(2): that is a cancellation point, which costs two atomic operations. */
		size = syscall(SYS_read, loop->mirror->fuse_fd, self->request, REQUEST_SIZE);
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

/*
 * With a umask of its own: directories are made with none (make_as_caller), and files of the daemon's own, which Python makes
 * in workers, too, with the daemon's.
 */
static void become_worker(const struct loop *loop)
{
	struct sched_param parameters = {};
	sigset_t interrupt;

	sigemptyset(&interrupt);
	sigaddset(&interrupt, INTERRUPT_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);

	if (unshare(CLONE_FS) < 0) {
		perror("cgfs: cannot have a file creation mask for one thread");
		abort();
	}
	umask(loop->umask);	/* it was shared until now with a worker that may have been making a directory */
	sched_setscheduler(0, SCHED_BATCH, &parameters);
}

void *worker_main(void *argument)
{
	struct worker *self = argument;
	struct loop *loop = self->loop;

	become_worker(loop);
	pthread_mutex_lock(&loop->lock);
	self->tid = gettid();
	while (stand_by(self)) {
		pthread_mutex_unlock(&loop->lock);
		read_requests(self);
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
	if (loop->follower == request->worker)
		request->worker->may_block = true;
	else if (request->worker->reads)
		stop_reading(request->worker, true);
	pthread_mutex_unlock(&loop->lock);
}

bool loop_has_ended(const struct request *request)
{
	struct loop *loop = request->worker->loop;
	bool ended;

	pthread_mutex_lock(&loop->lock);
	ended = loop->ended;
	pthread_mutex_unlock(&loop->lock);
	return ended;
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static void on_interrupt_signal(int signal)
{
	(void)signal;	/* that the system call ends with EINTR is all that is wanted */
}

static struct loop *loop_allocate(struct cgfs_mirror *mirror)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->mirror = mirror;
	loop->umask = umask(0);
	umask(loop->umask);
	loop->wake_fd = loop->alarm_fd = -1;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->over, NULL);
	return loop;
}

static void loop_free(struct loop *loop)
{
	share_free_all(loop);
	close_fd(&loop->wake_fd);
	close_fd(&loop->alarm_fd);
	pthread_cond_destroy(&loop->over);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static int start_readers(struct loop *loop)
{
	bool any = false;

	pthread_mutex_lock(&loop->lock);
	for (unsigned int i = 0; i < loop->mirror->n_readers; i++)
		any |= worker_create(loop) != NULL;
	loop->ended = !any;
	wake_watcher(loop);
	pthread_mutex_unlock(&loop->lock);
	return any ? 0 : -EAGAIN;
}

int loop_start(struct cgfs_mirror *mirror)
{
	struct sigaction action = {.sa_handler = on_interrupt_signal};	/* without SA_RESTART */
	struct loop *loop = loop_allocate(mirror);
	int error;

	if (!loop)
		return -ENOMEM;
	sigaction(INTERRUPT_SIGNAL, &action, NULL);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	error = loop->wake_fd < 0 || loop->alarm_fd < 0 ? -errno : start_thread(&loop->watcher, watcher_main, loop);
	if (error) {
		loop_free(loop);
		return error;
	}
	mirror->loop = loop;
	error = start_readers(loop);
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

bool loop_stop(struct cgfs_mirror *mirror)
{
	struct timespec deadline = after_ms(LONGEST_END_MS);

	if (pthread_clockjoin_np(mirror->loop->watcher, NULL, CLOCK_MONOTONIC, &deadline))
		return false;
	loop_free(mirror->loop);
	mirror->loop = NULL;
	return true;
}
