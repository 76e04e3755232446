/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads requests and answers them, in threads that follow each other: one at a time, the leader, reads a request and
 * handles it itself, so that a quick request costs no change of thread. A handler that may wait for others makes
 * another thread the leader first (loop_may_block). The watcher does so for one that waits unexpectedly.
 *
 * From loop_start until the connection ends there is exactly one leader, and it reads, handles a request, or was woken
 * to do so: leadership passes only from hand_over(), under the lock, to a thread that looks at it under the lock.
 */
#include "internal.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MAX_WORKERS 300
#define MAX_IDLE 4
#define STACK_SIZE (512 * 1024)
#define WATCH_INTERVAL_NS (50 * 1000 * 1000)
/* The largest request: a write of MAX_IO bytes with its headers. */
#define REQUEST_SIZE (MAX_IO + 4096)
#define INTERRUPT_SIGNAL (SIGRTMIN + 3)

/* Everything but the buffers is guarded by the loop's lock. */
struct worker {
	struct loop *loop;
	struct worker *next;		/* in workers, or in retired */
	struct worker *next_idle;
	pthread_t thread;
	pthread_cond_t promoted;	/* it has become the leader, or the loop has ended */
	uint64_t unique;		/* of the request at hand; 0: none */
	bool interruptible;		/* its system call may be ended by a signal */
	bool interrupted;		/* and is to be */
	char *request;			/* REQUEST_SIZE; the worker's own */
	char *reply;			/* MAX_IO; the worker's own */
};

struct loop {
	struct cgfs_mirror *mirror;
	pthread_t watcher;
	pthread_mutex_t lock;		/* guards what follows; taken before no other lock, never held in a system call that waits */
	pthread_cond_t watch;		/* something for the watcher: asleep and a request began, a worker retired, the end */
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

static void *worker_main(void *argument);

/* --- workers: the lock is held by the caller of each ------------------------------------------------------------------- */

static void worker_free(struct worker *worker)
{
	if (worker->request)
		munmap(worker->request, REQUEST_SIZE);
	if (worker->reply)
		munmap(worker->reply, MAX_IO);
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
	worker->reply = map_buffer(MAX_IO);
	if (worker->request && worker->reply)
		return worker;
	worker_free(worker);
	return NULL;
}

/* A new thread with every signal blocked. Returns 0 or -errno. */
static int start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
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

/* One worker more, which waits for the lock. Returns NULL if there are enough, or no thread can be had. */
static struct worker *worker_create(struct loop *loop)
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
	worker->next = loop->workers;
	loop->workers = worker;
	loop->n_workers++;
	return worker;
}

static void worker_retire(struct worker *worker)
{
	struct loop *loop = worker->loop;
	struct worker **link = &loop->workers;

	while (*link != worker)
		link = &(*link)->next;
	*link = worker->next;
	loop->n_workers--;
	worker->next = loop->retired;
	loop->retired = worker;
	pthread_cond_signal(&loop->watch);
}

/* Make somebody else the leader. If nobody can be had, the leader stays the leader: requests wait for it then. */
static void hand_over(struct loop *loop)
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

/* --- one request -------------------------------------------------------------------------------------------------------- */

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
		dispatch(&request);
	}
	return finish(self);
}

static void lead(struct worker *self)
{
	struct loop *loop = self->loop;
	ssize_t size;

	for (;;) {
		size = read(loop->mirror->fuse_fd, self->request, REQUEST_SIZE);
		if (size >= 0) {
			if (!serve(self, (size_t)size))
				return;
		} else if (errno != EINTR && errno != EAGAIN && errno != ENOENT) {
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

static void *worker_main(void *argument)
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

/* --- interrupts ------------------------------------------------------------------------------------------------------------ */

static void on_interrupt_signal(int signal)
{
	(void)signal;	/* that the system call ends with EINTR is all that is wanted */
}

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

/* --- the watcher -------------------------------------------------------------------------------------------------------------- */

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

static void wait_interval(struct loop *loop)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WATCH_INTERVAL_NS;
	if (until.tv_nsec >= 1000 * 1000 * 1000) {
		until.tv_nsec -= 1000 * 1000 * 1000;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&loop->watch, &loop->lock, &until);
}

/* Sleeps while nothing is being served, so that an idle mount costs nothing. */
static void *watcher_main(void *argument)
{
	struct loop *loop = argument;
	uint64_t seen = 0;

	pthread_mutex_lock(&loop->lock);
	while (!loop->ended || loop->n_workers || loop->retired) {
		bool interrupting;

		if (loop->retired) {
			join_retired(loop);
			continue;
		}
		interrupting = signal_interrupted(loop);
		if (interrupting || (loop->serving && !loop->ended)) {
			seen = loop->requests;
			wait_interval(loop);
			if (loop->serving && loop->requests == seen)
				hand_over(loop);
		} else {
			loop->watcher_asleep = true;
			pthread_cond_wait(&loop->watch, &loop->lock);
			loop->watcher_asleep = false;
		}
	}
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}

/* --- start and stop ------------------------------------------------------------------------------------------------------------- */

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
	pthread_cond_destroy(&loop->over);
	pthread_cond_destroy(&loop->watch);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_start(struct cgfs_mirror *mirror)
{
	struct sigaction action = {.sa_handler = on_interrupt_signal};
	struct loop *loop = loop_allocate(mirror);
	int error;

	if (!loop)
		return -ENOMEM;
	if (sigaction(INTERRUPT_SIGNAL, &action, NULL) < 0) {
		error = -errno;
		loop_free(loop);
		return error;
	}
	pthread_mutex_lock(&loop->lock);
	error = start_thread(&loop->watcher, watcher_main, loop);
	if (!error) {
		loop->leader = worker_create(loop);
		if (!loop->leader)
			error = -EAGAIN;
	}
	loop->ended = error != 0;
	pthread_mutex_unlock(&loop->lock);
	if (!error) {
		mirror->loop = loop;
		return 0;
	}
	if (loop->watcher)
		pthread_join(loop->watcher, NULL);
	loop_free(loop);
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

/* --- replies ---------------------------------------------------------------------------------------------------------------------- */

void *reply_buffer(const struct request *request)
{
	return request->worker->reply;
}

int send_message(const struct cgfs_mirror *mirror, const struct iovec *parts, int n_parts)
{
	ssize_t written;

	do
		written = writev(mirror->fuse_fd, parts, n_parts);
	while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}

/* The answer may come too late, for a request that was aborted: there is nobody to tell. */
void reply(const struct request *request, const void *data, size_t size)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + size),
		.unique = request->header->unique,
	};
	struct iovec parts[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = size},
	};

	send_message(request->mirror, parts, size ? 2 : 1);
}

void reply_error(const struct request *request, int error)
{
	struct fuse_out_header header = {
		.len = sizeof(header),
		/* The kernel takes no others, and would wait for one that it takes. */
		.error = error > 0 || error <= -512 ? -EIO : error,
		.unique = request->header->unique,
	};
	struct iovec part = {.iov_base = &header, .iov_len = sizeof(header)};

	send_message(request->mirror, &part, 1);
}
