/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who waits for a change of an open file, and the thread that wakes them (FUSE_NOTIFY_POLL). The kernel then asks again
 * what is the case (poll.c), so that one wake-up too many is seen by nobody.
 *
 * Others' changes of a control file are looked for while somebody waits for one, and only then: there is no event.
 */
#include "poll.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "../bpf.h"

#define CHECK_MS 400
#define MAX_PROGRAMS 64		/* BPF_CGROUP_MAX_PROGS in include/linux/bpf-cgroup-defs.h */

/* --- the waiters ------------------------------------------------------------------------------------------------------ */

struct waiter *waiter_get(const struct request *request, const struct fuse_poll_in *in, bool create)
{
	struct poller *poller = request->mirror->poller;
	struct waiter *fresh = create ? malloc(sizeof(*fresh)) : NULL;
	struct waiter *waiter;

	pthread_mutex_lock(&poller->lock);
	for (waiter = poller->waiters; waiter && waiter->kernel_handle != in->kh; waiter = waiter->next)
		;
	if (!waiter && fresh) {
		*fresh = (struct waiter){
			.next = poller->waiters,
			.kernel_handle = in->kh,
			.node = request->header->nodeid,
			.file_handle = in->fh,
			.references = 1,
			.fd = -1,
			.changed = true,
		};
		pthread_mutex_init(&fresh->answering, NULL);
		waiter = poller->waiters = fresh;
		poller->n_waiters++;
		fresh = NULL;
	}
	if (waiter)
		waiter->references++;
	pthread_mutex_unlock(&poller->lock);
	free(fresh);
	return waiter;
}

void waiter_put(struct poller *poller, struct waiter *waiter)
{
	bool last;

	pthread_mutex_lock(&poller->lock);
	last = --waiter->references == 0;
	pthread_mutex_unlock(&poller->lock);
	if (!last)
		return;
	if (waiter->file)
		file_put(waiter->file);
	else
		close_fd(&waiter->fd);
	pthread_mutex_destroy(&waiter->answering);
	free(waiter);
}

static void wake_thread(struct poller *poller)
{
	eventfd_write(poller->wake_fd, 1);
}

void waiter_arm(struct poller *poller, struct waiter *waiter, const struct fuse_poll_in *in)
{
	bool armed = true;

	if (!(in->flags & FUSE_POLL_SCHEDULE_NOTIFY))
		return;
	pthread_mutex_lock(&poller->lock);
	armed = waiter->armed;
	waiter->armed = true;
	pthread_mutex_unlock(&poller->lock);
	if (!armed)
		wake_thread(poller);
}

void waiter_wake(struct poller *poller, struct waiter *waiter)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_poll_wakeup_out body;
	} message = {
		.header = {.len = sizeof(message), .error = FUSE_NOTIFY_POLL},
		.body = {.kh = waiter->kernel_handle},
	};
	struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};

	if (!waiter->armed)
		return;
	waiter->armed = false;
	send_message(poller->mirror, &part, 1);
}

/* Called with the lock held. A mark keeps the inode of its file: those that nobody polls any more have none. */
static void unmark_reads(struct poller *poller, const struct waiter *gone)
{
	const struct waiter *other = poller->waiters;

	if (gone->file || gone->fd < 0)
		return;
	while (other && other->node != gone->node)
		other = other->next;
	if (!other)
		fanotify_mark(poller->fan_fd, FAN_MARK_REMOVE, FAN_ACCESS, gone->fd, NULL);
}

void poller_forget(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle)
{
	struct poller *poller = mirror->poller;
	struct waiter **link, *waiter;

	if (!poller->n_waiters)
		return;
	pthread_mutex_lock(&poller->lock);
	for (link = &poller->waiters; *link; link = &(*link)->next) {
		if ((*link)->node == node && (*link)->file_handle == file_handle)
			break;
	}
	waiter = *link;
	if (waiter) {
		*link = waiter->next;
		poller->n_waiters--;
		waiter->armed = false;
		unmark_reads(poller, waiter);
	}
	pthread_mutex_unlock(&poller->lock);
	if (!waiter)
		return;
	wake_thread(poller);	/* which may hold the last reference to an open file */
	waiter_put(poller, waiter);
}

/* --- control files ------------------------------------------------------------------------------------------------------ */

uint64_t control_fingerprint(const struct cgfs_mirror *mirror, uint64_t node)
{
	uint32_t words[2 * MAX_PROGRAMS] = {}, *ids = words, *flags = words + MAX_PROGRAMS;
	struct cgfs_query query = {};
	CLEANUP_FD int cgroup = -1;
	uint64_t hash;

	if (!mirror->control_attach_types)
		return 0;
	cgroup = node_open_path(mirror, node);
	if (cgroup < 0 || cgfs_prog_query(cgroup, mirror->control_attach_types[node_control_index(node)], 0, ids, flags,
					  MAX_PROGRAMS, &query))
		return 0;
	hash = query.revision << 32 ^ (uint64_t)query.attach_flags << 16 ^ query.count;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		hash = (hash ^ words[i]) * 1099511628211u;
	return hash;
}

void poller_control_changed(struct cgfs_mirror *mirror, uint64_t node)
{
	struct poller *poller = mirror->poller;

	pthread_mutex_lock(&poller->lock);
	for (struct waiter *waiter = poller->waiters; waiter; waiter = waiter->next) {
		if (waiter->node == node) {
			waiter->changed = true;
			waiter_wake(poller, waiter);
		}
	}
	pthread_mutex_unlock(&poller->lock);
}

static void check_control(struct poller *poller, struct waiter *waiter)
{
	uint64_t fingerprint = control_fingerprint(poller->mirror, waiter->node);
	bool changed;

	pthread_mutex_lock(&poller->lock);
	changed = waiter->fingerprint != fingerprint;
	if (changed) {
		waiter->fingerprint = fingerprint;
		waiter->changed = true;
		waiter_wake(poller, waiter);
	}
	pthread_mutex_unlock(&poller->lock);
	if (changed)
		replay_add(poller->mirror, REPLAY_MODIFIED, waiter->node, NULL, 0);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------ */

/* What the thread polls at a time. Those without a descriptor are control files. */
struct round {
	struct waiter **waiters;	/* counted */
	struct pollfd *ready;		/* one for each, and the last is the poller's own */
	size_t n;
	bool control;
};

static void round_clear(struct poller *poller, struct round *round)
{
	for (size_t i = 0; i < round->n; i++)
		waiter_put(poller, round->waiters[i]);
	free(round->waiters);
	free(round->ready);
	*round = (struct round){};
}

/* Called with the lock held. */
static int round_collect(struct poller *poller, struct round *round)
{
	round->waiters = calloc(poller->n_waiters + 1, sizeof(struct waiter *));
	round->ready = calloc(poller->n_waiters + 1, sizeof(*round->ready));
	if (!round->waiters || !round->ready)
		return -ENOMEM;
	for (struct waiter *waiter = poller->waiters; waiter; waiter = waiter->next) {
		if (!waiter->armed || (waiter->fd < 0 && !node_is_control(waiter->node)))
			continue;
		waiter->references++;
		round->waiters[round->n] = waiter;
		round->ready[round->n] = (struct pollfd){.fd = waiter->fd, .events = POLLPRI};
		round->control |= waiter->fd < 0;
		round->n++;
	}
	round->ready[round->n] = (struct pollfd){.fd = poller->wake_fd, .events = POLLIN};
	return 0;
}

static void round_wake(struct poller *poller, const struct round *round)
{
	eventfd_t count;

	if (round->ready[round->n].revents)
		eventfd_read(poller->wake_fd, &count);
	pthread_mutex_lock(&poller->lock);
	for (size_t i = 0; i < round->n; i++) {
		if (!round->ready[i].revents)
			continue;
		if (node_kind(round->waiters[i]->node) == KIND_PRESSURE && round->ready[i].revents & POLLPRI)
			round->waiters[i]->taken = true;
		waiter_wake(poller, round->waiters[i]);
	}
	pthread_mutex_unlock(&poller->lock);
	for (size_t i = 0; i < round->n; i++) {
		if (round->waiters[i]->fd < 0)
			check_control(poller, round->waiters[i]);
	}
}

void *waiter_main(void *argument)
{
	struct poller *poller = argument;
	struct round round = {};
	int error;

	pthread_mutex_lock(&poller->lock);
	while (!poller->ended) {
		error = round_collect(poller, &round);
		pthread_mutex_unlock(&poller->lock);
		if (error) {
			/* Nothing better can be done than to wait for memory. */
			poll(NULL, 0, CHECK_MS);
		} else {
			poll(round.ready, round.n + 1, round.control ? CHECK_MS : -1);
			round_wake(poller, &round);
		}
		round_clear(poller, &round);
		pthread_mutex_lock(&poller->lock);
	}
	pthread_mutex_unlock(&poller->lock);
	return NULL;
}
