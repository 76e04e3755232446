/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who waits for a change of an open file, and how they are found: anybody may have as many files open as he likes, so
 * nothing that is done for one of them looks at all, but in the thread that wakes them (poll_wake.c).
 *
 * Whoever is woken (FUSE_NOTIFY_POLL) makes the kernel ask again what is the case (poll.c), so that one wake-up too many
 * is seen by nobody.
 */
#include "poll.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "../bpf.h"
#include "hash.h"

#define MAX_PROGRAMS 64		/* BPF_CGROUP_MAX_PROGS in include/linux/bpf-cgroup-defs.h */

/* --- where they are --------------------------------------------------------------------------------------------------- */

static size_t bucket_of(uint64_t key)
{
	return hash_id(key, BUCKET_BITS);
}

struct waiter *waiter_find(const struct poller *poller, enum waiter_index index, uint64_t key, const struct waiter *after)
{
	struct waiter *waiter = after ? LIST_NEXT(after, in_bucket[index]) : LIST_FIRST(&poller->buckets[index][bucket_of(key)]);

	while (waiter && waiter->keys[index] != key)
		waiter = LIST_NEXT(waiter, in_bucket[index]);
	return waiter;
}

static void waiter_link(struct poller *poller, struct waiter *waiter)
{
	for (int i = 0; i < N_INDEXES; i++)
		LIST_INSERT_HEAD(&poller->buckets[i][bucket_of(waiter->keys[i])], waiter, in_bucket[i]);
	poller->n_waiters++;
}

void waiter_unlink(struct poller *poller, struct waiter *waiter)
{
	for (int i = 0; i < N_INDEXES; i++)
		LIST_REMOVE(waiter, in_bucket[i]);
	poller->n_waiters--;
}

/* --- the waiters ------------------------------------------------------------------------------------------------------ */

/*
 * It counts as a descriptor of the caller's, of a control file as well, but not where the open file has one, which is counted
 * already. NULL if he has had his share.
 */
static struct waiter *waiter_new(const struct request *request, const struct fuse_poll_in *in)
{
	unsigned int n = in->fh & HANDLE_OF_POLLER || node_is_control(request->header->nodeid);
	uint64_t user = descriptor_user(request);
	struct waiter *waiter;

	if (n && !descriptors_take(request->mirror, user, n))
		return NULL;
	waiter = malloc(sizeof(*waiter));
	if (!waiter) {
		if (n)
			descriptors_give(request->mirror, user, n);
		return NULL;
	}
	*waiter = (struct waiter){
		.node = request->header->nodeid,
		.keys = {
			[BY_KERNEL_HANDLE] = in->kh,
			[BY_FILE_HANDLE] = in->fh,
			[BY_KERNFS_ID] = node_kernfs_id(request->mirror, request->header->nodeid),
			[ALL] = node_is_control(request->header->nodeid) ? ALL_CONTROLS : ALL_OTHERS,
		},
		.user = user,
		.n_charged = n,
		.references = 1,
		.fd = -1,
		.changed = true,
	};
	pthread_mutex_init(&waiter->answering, NULL);
	return waiter;
}

static void waiter_free(struct poller *poller, struct waiter *waiter)
{
	if (waiter->file)
		file_put(waiter->file);
	else
		close_fd(&waiter->fd);
	if (waiter->n_charged)
		descriptors_give(poller->mirror, waiter->user, waiter->n_charged);
	pthread_mutex_destroy(&waiter->answering);
	free(waiter);
}

/* The one that there is, or else fresh, which is linked then, and set to NULL. */
static struct waiter *get(struct poller *poller, uint64_t kernel_handle, struct waiter **fresh)
{
	struct waiter *waiter;

	pthread_mutex_lock(&poller->lock);
	waiter = waiter_find(poller, BY_KERNEL_HANDLE, kernel_handle, NULL);
	if (!waiter && *fresh) {
		waiter_link(poller, *fresh);
		waiter = *fresh;
		*fresh = NULL;
	}
	if (waiter)
		waiter->references++;
	pthread_mutex_unlock(&poller->lock);
	return waiter;
}

struct waiter *waiter_get(const struct request *request, const struct fuse_poll_in *in, bool create)
{
	struct poller *poller = request->mirror->poller;
	struct waiter *fresh = NULL, *waiter = get(poller, in->kh, &fresh);

	if (waiter || !create)
		return waiter;
	fresh = waiter_new(request, in);
	waiter = get(poller, in->kh, &fresh);
	if (fresh)
		waiter_free(poller, fresh);
	return waiter;
}

void waiter_put(struct poller *poller, struct waiter *waiter)
{
	bool last;

	pthread_mutex_lock(&poller->lock);
	last = --waiter->references == 0;
	pthread_mutex_unlock(&poller->lock);
	if (last)
		waiter_free(poller, waiter);
}

void waiters_wake_up_thread(struct poller *poller)
{
	eventfd_write(poller->wake_fd, 1);
}

void waiter_arm(struct poller *poller, struct waiter *waiter, const struct fuse_poll_in *in)
{
	bool is_known;

	if (!(in->flags & FUSE_POLL_SCHEDULE_NOTIFY))
		return;
	pthread_mutex_lock(&poller->lock);
	if (node_is_control(waiter->node)) {
		is_known = poller->looks_at_controls;
		poller->looks_at_controls = true;
	} else {
		is_known = waiter->armed;
	}
	waiter->armed = true;
	pthread_mutex_unlock(&poller->lock);
	if (!is_known)
		waiters_wake_up_thread(poller);
}

void waiter_wake(struct poller *poller, struct waiter *waiter)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_poll_wakeup_out body;
	} message = {
		.header = {.len = sizeof(message), .error = FUSE_NOTIFY_POLL},
		.body = {.kh = waiter->keys[BY_KERNEL_HANDLE]},
	};
	struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};

	if (!waiter->armed)
		return;
	waiter->armed = false;
	send_message(poller->mirror->fuse_fd, &part, 1);
}

/*
 * Called with the lock held, when the waiter is found no more. A mark keeps the inode of its file: those that nobody polls
 * any more have none.
 */
static void unmark_reads(struct poller *poller, const struct waiter *gone)
{
	if (gone->file || gone->fd < 0)
		return;
	if (!waiter_find(poller, BY_KERNFS_ID, gone->keys[BY_KERNFS_ID], NULL))
		fanotify_mark(poller->fan_fd, FAN_MARK_REMOVE, FAN_ACCESS, gone->fd, NULL);
}

void poller_forget(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle)
{
	struct poller *poller = mirror->poller;
	struct waiter *waiter = NULL;

	if (!poller->n_waiters)
		return;
	pthread_mutex_lock(&poller->lock);
	do
		waiter = waiter_find(poller, BY_FILE_HANDLE, file_handle, waiter);
	while (waiter && waiter->node != node);
	if (waiter) {
		waiter_unlink(poller, waiter);
		waiter->armed = false;
		unmark_reads(poller, waiter);
	}
	pthread_mutex_unlock(&poller->lock);
	if (!waiter)
		return;
	waiters_wake_up_thread(poller);	/* which may hold the last reference to an open file */
	waiter_put(poller, waiter);
}

/* --- control files ---------------------------------------------------------------------------------------------------- */

uint64_t control_fingerprint(const struct cgfs_mirror *mirror, uint64_t node)
{
	struct {
		struct cgfs_query query;
		uint32_t ids[MAX_PROGRAMS];
	} attached;
	CLEANUP_FD int cgroup = -1;

	if (!mirror->control_attach_types)
		return 0;
	memset(&attached, 0, sizeof(attached));
	cgroup = node_open_path(mirror, node);
	if (cgroup < 0 || cgfs_prog_query(cgroup, mirror->control_attach_types[node_control_index(node)], 0, attached.ids,
					  MAX_PROGRAMS, &attached.query))
		return 0;
	return hash_bytes(&attached, sizeof(attached));
}

bool control_note_change(struct poller *poller, uint64_t node, const uint64_t *fingerprint)
{
	uint64_t id = node_kernfs_id(poller->mirror, node);
	struct waiter *waiter = NULL;
	bool changed = false;

	pthread_mutex_lock(&poller->lock);
	while ((waiter = waiter_find(poller, BY_KERNFS_ID, id, waiter))) {
		if (waiter->node != node || (fingerprint && waiter->fingerprint == *fingerprint))
			continue;
		if (fingerprint)
			waiter->fingerprint = *fingerprint;
		waiter->changed = changed = true;
		waiter_wake(poller, waiter);
	}
	pthread_mutex_unlock(&poller->lock);
	return changed;
}

void poller_control_changed(struct cgfs_mirror *mirror, uint64_t node)
{
	control_note_change(mirror->poller, node, NULL);
}
