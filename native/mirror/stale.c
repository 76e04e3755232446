/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the kernel which names and attributes it must not believe any more.
 *
 * In threads of its own: the kernel takes the lock of a directory to invalidate a name in it, and whoever holds that
 * lock may wait for an answer of ours. What concerns one directory is told by one thread, in the order in which it was
 * added; a thread that waits holds up a part of the others only.
 *
 * A name is never dropped, only expired: the kernel asks again when it is next used. Dropping it would tear what was
 * made anew under the same name from those who are in it.
 *
 * All is told twice. An answer that was made before a change may reach the kernel after it was told of the change, and
 * would be believed for long.
 *
 * Source: fuse_reverse_inval_entry in fs/fuse/dir.c, fuse_reverse_inval_inode in fs/fuse/inode.c, fuse_readdir_cached
 * in fs/fuse/readdir.c; kernfs_add_one and __kernfs_remove in fs/kernfs/dir.c.
 */
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

#define N_LANES 4
#define AGAIN_NS (200 * 1000 * 1000L)

struct item {
	struct item *next;
	enum stale_what what;
	uint64_t node;
	uint64_t child;
	struct timespec again;	/* when it is to be told for the second time */
	char name[];		/* empty: none */
};

struct list {
	struct item *first;
	struct item **last;	/* where the next one is to be linked */
};

struct lane {
	struct cgfs_mirror *mirror;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;	/* guards what follows; taken before no other */
	pthread_cond_t work;	/* something was added, or the end */
	pthread_cond_t done;	/* told has grown */
	struct list fresh;
	struct list repeats;	/* in the order of their time */
	uint64_t added, told;	/* items, fresh ones only */
	bool ended;
};

struct stale {
	struct lane lanes[N_LANES];
};

/* --- the notifications ----------------------------------------------------------------------------------------------- */

static int notify(const struct cgfs_mirror *mirror, int code, struct iovec *parts, int n_parts)
{
	struct fuse_out_header header = {.len = sizeof(header), .error = code};

	parts[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	for (int i = 1; i < n_parts; i++)
		header.len += (uint32_t)parts[i].iov_len;
	return send_message(mirror, parts, n_parts);
}

static int forget_node(const struct cgfs_mirror *mirror, uint64_t node, int64_t offset)
{
	struct fuse_notify_inval_inode_out out = {.ino = node, .off = offset};
	struct iovec parts[2] = {[1] = {.iov_base = &out, .iov_len = sizeof(out)}};

	return notify(mirror, FUSE_NOTIFY_INVAL_INODE, parts, 2);
}

/* Both return 0, or -ENOENT if the kernel does not know the node. */
static int forget_attributes(const struct cgfs_mirror *mirror, uint64_t node)
{
	return forget_node(mirror, node, -1);
}

/* Its listing, too, which the kernel keeps: cgroup2 need not change a directory's times when entries come and go. */
static int forget_listing(const struct cgfs_mirror *mirror, uint64_t dir)
{
	return forget_node(mirror, dir, 0);
}

static void expire_name(const struct cgfs_mirror *mirror, uint64_t dir, const char *name)
{
	struct fuse_notify_inval_entry_out out = {
		.parent = dir,
		.namelen = (uint32_t)strlen(name),
		.flags = FUSE_EXPIRE_ONLY,
	};
	struct iovec parts[3] = {
		[1] = {.iov_base = &out, .iov_len = sizeof(out)},
		[2] = {.iov_base = (void *)(uintptr_t)name, .iov_len = out.namelen + 1},
	};

	notify(mirror, FUSE_NOTIFY_INVAL_ENTRY, parts, 3);
}

/*
 * Expire every name there is. Linux 6.16 and later; it takes directories that are in use from those who are in them,
 * as if they had been removed: for nothing but the loss of events, which the kernel reports when it has no memory.
 */
static void expire_everything(const struct cgfs_mirror *mirror)
{
	struct iovec parts[1];
	int error = notify(mirror, FUSE_NOTIFY_INC_EPOCH, parts, 1);

	if (error && error != -ENODEV && error != -ENOTCONN)
		fprintf(stderr, "cgfs: WARNING: the kernel lost events of cgroup2 and cannot forget what it knows of the "
				"mirror (%s): mount it anew\n", strerror(-error));
}

/* --- what is stale ----------------------------------------------------------------------------------------------------- */

static void expire_files(const struct cgfs_mirror *mirror, uint64_t dir)
{
	const char *name;

	if (forget_listing(mirror, dir))
		return;
	for (size_t i = 0; watch_next_name(mirror, &i, &name);)
		expire_name(mirror, dir, name);
}

static void expire_files_of_children(const struct cgfs_mirror *mirror, uint64_t node)
{
	int fd = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			expire_files(mirror, node_id(mirror, NULL, entry->d_ino));
	}
	closedir(dir);
}

/*
 * A file that was open when its directory was removed stays in the kernel's cache when it is closed, and its directory
 * with it, for which a descriptor is kept (removed.c): what is expired goes at once.
 */
static void expire_files_of_removed(struct cgfs_mirror *mirror, uint64_t dir)
{
	/* Those that watch_next_name() does not say: cgroup_base_files in kernel/cgroup/cgroup.c. */
	static const char *const always[] = {
		"cgroup.type", "cgroup.procs", "cgroup.threads", "cgroup.controllers", "cgroup.subtree_control",
		"cgroup.events", "cgroup.max.descendants", "cgroup.max.depth", "cgroup.stat", "cgroup.stat.local",
		"cgroup.freeze", "cgroup.kill", "cgroup.pressure",
	};

	if (forget_attributes(mirror, dir)) {
		/* What the kernel had under that name was another directory, and it will never say that it forgets this. */
		removed_forget(mirror, dir);
		return;
	}
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		expire_name(mirror, dir, always[i]);
	for (size_t i = 0; i < mirror->n_control_names; i++)
		expire_name(mirror, dir, mirror->control_names[i]);
	expire_files(mirror, dir);
}

static void tell(struct cgfs_mirror *mirror, const struct item *item, bool first)
{
	bool known;

	switch (item->what) {
	case STALE_CREATED:
		known = forget_listing(mirror, item->node) == 0;
		if (known && first)
			replay_add(mirror, REPLAY_CREATED, item->node, item->name, 0);
		break;
	case STALE_DELETED:
		known = forget_listing(mirror, item->node) == 0;
		if (known)
			expire_name(mirror, item->node, item->name);
		if (known && first)
			replay_add(mirror, REPLAY_DELETED, item->node, item->name, item->child);
		break;
	case STALE_NODE:
	case STALE_EVENT:
		known = forget_attributes(mirror, item->node) == 0;
		if (known && first && item->what == STALE_EVENT)
			replay_add(mirror, REPLAY_MODIFIED, item->node, NULL, 0);
		break;
	case STALE_FILES:
		expire_files(mirror, item->node);
		break;
	case STALE_CHILDREN:
		expire_files_of_children(mirror, item->node);
		break;
	case STALE_REMOVED:
		/* Of most directories nothing is left by then. */
		if (!first)
			expire_files_of_removed(mirror, item->node);
		break;
	case STALE_ALL:
		if (first)
			expire_everything(mirror);
		break;
	}
}

/* --- the lanes ----------------------------------------------------------------------------------------------------------- */

static void list_add(struct list *list, struct item *item)
{
	item->next = NULL;
	*list->last = item;
	list->last = &item->next;
}

static struct item *list_take(struct list *list)
{
	struct item *item = list->first;

	list->first = item->next;
	if (!list->first)
		list->last = &list->first;
	return item;
}

static void list_free(struct list *list)
{
	while (list->first)
		free(list_take(list));
}

static bool is_past(const struct timespec *when)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > when->tv_sec || (now.tv_sec == when->tv_sec && now.tv_nsec >= when->tv_nsec);
}

static void tell_fresh(struct lane *lane)
{
	struct item *item = list_take(&lane->fresh);

	pthread_mutex_unlock(&lane->lock);
	tell(lane->mirror, item, true);
	clock_gettime(CLOCK_MONOTONIC, &item->again);
	item->again.tv_nsec += AGAIN_NS;
	if (item->again.tv_nsec >= 1000 * 1000 * 1000) {
		item->again.tv_nsec -= 1000 * 1000 * 1000;
		item->again.tv_sec++;
	}
	pthread_mutex_lock(&lane->lock);
	lane->told++;
	pthread_cond_broadcast(&lane->done);
	list_add(&lane->repeats, item);
}

static void tell_again(struct lane *lane)
{
	struct item *item = list_take(&lane->repeats);

	pthread_mutex_unlock(&lane->lock);
	tell(lane->mirror, item, false);
	free(item);
	pthread_mutex_lock(&lane->lock);
}

static void *lane_main(void *argument)
{
	struct lane *lane = argument;

	pthread_mutex_lock(&lane->lock);
	while (!lane->ended) {
		if (lane->fresh.first)
			tell_fresh(lane);
		else if (!lane->repeats.first)
			pthread_cond_wait(&lane->work, &lane->lock);
		else if (is_past(&lane->repeats.first->again))
			tell_again(lane);
		else
			pthread_cond_timedwait(&lane->work, &lane->lock, &lane->repeats.first->again);
	}
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

void stale_add(struct cgfs_mirror *mirror, enum stale_what what, uint64_t node, const char *name, uint64_t child)
{
	struct lane *lane = &mirror->stale->lanes[node_kernfs_id(mirror, node) % N_LANES];
	size_t length = name ? strlen(name) : 0;
	struct item *item = malloc(sizeof(*item) + length + 1);

	if (!item) {
		perror("cgfs: cannot keep the kernel's view of cgroup2 up to date");
		abort();
	}
	*item = (struct item){.what = what, .node = node, .child = child};
	memcpy(item->name, name ? name : "", length + 1);
	pthread_mutex_lock(&lane->lock);
	list_add(&lane->fresh, item);
	lane->added++;
	pthread_cond_signal(&lane->work);
	pthread_mutex_unlock(&lane->lock);
}

void stale_flush(struct cgfs_mirror *mirror, const struct timespec *deadline)
{
	for (size_t i = 0; i < N_LANES; i++) {
		struct lane *lane = &mirror->stale->lanes[i];
		uint64_t ticket;
		int error = 0;

		pthread_mutex_lock(&lane->lock);
		ticket = lane->added;
		while (lane->told < ticket && !lane->ended && !error)
			error = pthread_cond_timedwait(&lane->done, &lane->lock, deadline);
		pthread_mutex_unlock(&lane->lock);
	}
}

/* --- start and stop --------------------------------------------------------------------------------------------------------- */

static void lane_init(struct lane *lane, struct cgfs_mirror *mirror)
{
	pthread_condattr_t monotonic;

	lane->mirror = mirror;
	lane->fresh.last = &lane->fresh.first;
	lane->repeats.last = &lane->repeats.first;
	pthread_mutex_init(&lane->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->work, &monotonic);
	pthread_cond_init(&lane->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void lane_destroy(struct lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	lane->ended = true;
	pthread_cond_broadcast(&lane->work);
	pthread_cond_broadcast(&lane->done);
	pthread_mutex_unlock(&lane->lock);
	if (lane->started)
		pthread_join(lane->thread, NULL);
	list_free(&lane->fresh);
	list_free(&lane->repeats);
	pthread_cond_destroy(&lane->work);
	pthread_cond_destroy(&lane->done);
	pthread_mutex_destroy(&lane->lock);
}

int stale_start(struct cgfs_mirror *mirror)
{
	struct stale *stale = calloc(1, sizeof(*stale));
	int error = 0;

	if (!stale)
		return -ENOMEM;
	mirror->stale = stale;
	for (size_t i = 0; i < N_LANES; i++)
		lane_init(&stale->lanes[i], mirror);
	for (size_t i = 0; i < N_LANES && !error; i++) {
		error = start_thread(&stale->lanes[i].thread, lane_main, &stale->lanes[i]);
		stale->lanes[i].started = error == 0;
	}
	return error;
}

void stale_stop(struct cgfs_mirror *mirror)
{
	if (!mirror->stale)
		return;
	for (size_t i = 0; i < N_LANES; i++)
		lane_destroy(&mirror->stale->lanes[i]);
	free(mirror->stale);
	mirror->stale = NULL;
}
