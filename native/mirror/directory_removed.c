/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removed cgroups that somebody still has open or as the working directory: their ids lead nowhere any more, but on
 * cgroup2 their attributes can still be asked for and changed. So a descriptor of a directory is kept from the RMDIR
 * that went through us until the kernel forgets its node, which it does at once if nobody has it. Files are those that
 * are open: the tables of open files have descriptors of them.
 */
#include "files.h"

#include <fcntl.h>
#include <stdlib.h>

/*
 * Of more that a user has removed, and of more in all, the oldest are given up, and answer ESTALE: nobody must be able to
 * use up the daemon's descriptors. The kernel may remember a removed directory for long, since a file that was open in it
 * stays in its cache.
 */
#define MAX_OF_USER 64
#define MAX_KEPT 1024
#define USERS 4			/* so many may have as many as they may */

struct removed_dir {
	LIST_ENTRY(removed_dir) next;
	uint64_t user;
	uint64_t node;
	int fd;
};

struct removed {
	pthread_mutex_t lock;	/* guards the rest; taken before no other */
	LIST_HEAD(, removed_dir) dirs;	/* the newest first */
	unsigned int max, max_of_user;
	atomic_uint count;	/* also read without the lock, to see that there is nothing to forget */
};

int removed_create(struct cgfs_mirror *mirror)
{
	mirror->removed = calloc(1, sizeof(*mirror->removed));
	if (!mirror->removed)
		return -ENOMEM;
	pthread_mutex_init(&mirror->removed->lock, NULL);
	mirror->removed->max = descriptors_spare(mirror, MAX_KEPT);
	mirror->removed->max_of_user = descriptors_spare(mirror, MAX_OF_USER * USERS) / USERS;
	return 0;
}

void removed_destroy(struct cgfs_mirror *mirror)
{
	struct removed *removed = mirror->removed;

	if (!removed)
		return;
	while (!LIST_EMPTY(&removed->dirs))
		removed_forget(mirror, LIST_FIRST(&removed->dirs)->node);
	pthread_mutex_destroy(&removed->lock);
	free(removed);
	mirror->removed = NULL;
}

static void removed_dir_free(struct removed_dir *dir)
{
	if (!dir)
		return;
	close(dir->fd);
	free(dir);
}

/* Called with the lock held. NULL: there is none. */
static struct removed_dir *find(struct removed *removed, uint64_t node)
{
	struct removed_dir *dir;

	LIST_FOREACH(dir, &removed->dirs, next) {
		if (dir->node == node)
			return dir;
	}
	return NULL;
}

/* Called with the lock held, after that user's was added. The one that is too much; NULL if none is. */
static struct removed_dir *too_much(struct removed *removed, uint64_t user)
{
	struct removed_dir *dir, *oldest = NULL, *oldest_of_user = NULL;
	unsigned int n_user = 0;

	LIST_FOREACH(dir, &removed->dirs, next) {
		oldest = dir;
		if (dir->user != user)
			continue;
		oldest_of_user = dir;
		n_user++;
	}
	if (removed->count > removed->max)
		return n_user > 1 ? oldest_of_user : oldest;
	return n_user > removed->max_of_user ? oldest_of_user : NULL;
}

/* Called with the lock held. It is for removed_dir_free() then. */
static void take(struct removed *removed, struct removed_dir *dir)
{
	if (!dir)
		return;
	LIST_REMOVE(dir, next);
	removed->count--;
}

void removed_keep(struct cgfs_mirror *mirror, uint64_t user, uint64_t node, int fd)
{
	struct removed *removed = mirror->removed;
	struct removed_dir *dir = malloc(sizeof(*dir)), *given_up;

	if (!dir) {
		close(fd);
		return;
	}
	*dir = (struct removed_dir){.user = user, .node = node, .fd = fd};
	pthread_mutex_lock(&removed->lock);
	LIST_INSERT_HEAD(&removed->dirs, dir, next);
	removed->count++;
	given_up = too_much(removed, user);
	take(removed, given_up);
	pthread_mutex_unlock(&removed->lock);
	removed_dir_free(given_up);
}

void removed_forget(struct cgfs_mirror *mirror, uint64_t node)
{
	struct removed *removed = mirror->removed;
	struct removed_dir *dir;

	if (!removed->count)
		return;
	pthread_mutex_lock(&removed->lock);
	dir = find(removed, node);
	take(removed, dir);
	pthread_mutex_unlock(&removed->lock);
	removed_dir_free(dir);
}

static int open_removed(struct removed *removed, uint64_t node)
{
	const struct removed_dir *dir;
	int fd;

	pthread_mutex_lock(&removed->lock);
	dir = find(removed, node);
	fd = dir ? dup_fd(dir->fd) : -ESTALE;
	pthread_mutex_unlock(&removed->lock);
	return fd;
}

int node_open_even_removed(struct cgfs_mirror *mirror, uint64_t node)
{
	int fd = node_open_path(mirror, node);

	if (fd == -ENOENT)
		return dup_fd(mirror->source_fd);	/* SOURCE itself */
	if (fd == -ESTALE)
		fd = open_removed(mirror->removed, node);
	if (fd == -ESTALE)
		fd = backing_open_path(mirror, node);
	if (fd == -ESTALE)
		fd = file_open_path(mirror, node);
	return fd;
}

/* --- FORGET: the kernel has no inode of that node any more; nobody waits for an answer ---------------------------- */

void handle_forget(struct request *request)
{
	removed_forget(request->mirror, request->header->nodeid);
}

void handle_batch_forget(struct request *request)
{
	const struct fuse_batch_forget_in *in = request->body;
	const struct fuse_forget_one *forget = (const struct fuse_forget_one *)(in + 1);
	size_t room = (request->body_size - sizeof(*in)) / sizeof(*forget);

	for (size_t i = 0; i < in->count && i < room; i++)
		removed_forget(request->mirror, forget[i].nodeid);
}
