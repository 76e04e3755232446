/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files: what the kernel reads and writes in our stead (passthrough).
 *
 * The kernel allows one backing id per inode at a time: a second one answers EIO to the open. It lets go of its own
 * count before it sends RELEASE, so an id that is counted here from OPEN to RELEASE is there whenever the kernel asks
 * for it, and no second one is made while it does.
 *
 * Source: kernel fs/fuse/backing.c, fs/fuse/iomode.c, fs/fuse/passthrough.c.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "internal.h"

#define N_BUCKETS 4096u
#define N_LOCKS 64u

struct backing {
	struct backing *next;
	uint64_t node;
	int path_fd;		/* for the attributes, should the file be removed while it is open */
	int id;
	unsigned int count;
};

struct backings {
	pthread_mutex_t locks[N_LOCKS];	/* each guards the buckets of its remainder; no other is taken under it */
	struct backing *buckets[N_BUCKETS];
};

static unsigned int bucket_of(uint64_t node)
{
	return (node ^ node >> 12) % N_BUCKETS;
}

int backings_create(struct cgfs_mirror *mirror)
{
	mirror->backings = calloc(1, sizeof(*mirror->backings));
	if (!mirror->backings)
		return -ENOMEM;
	for (unsigned int i = 0; i < N_LOCKS; i++)
		pthread_mutex_init(&mirror->backings->locks[i], NULL);
	return 0;
}

void backings_destroy(struct cgfs_mirror *mirror)
{
	struct backings *backings = mirror->backings;

	if (!backings)
		return;
	for (unsigned int i = 0; i < N_BUCKETS; i++) {
		while (backings->buckets[i]) {
			struct backing *next = backings->buckets[i]->next;

			close(backings->buckets[i]->path_fd);
			free(backings->buckets[i]);	/* the id ends with the connection */
			backings->buckets[i] = next;
		}
	}
	for (unsigned int i = 0; i < N_LOCKS; i++)
		pthread_mutex_destroy(&backings->locks[i]);
	free(backings);
	mirror->backings = NULL;
}

static int register_file(const struct cgfs_mirror *mirror, int path_fd)
{
	struct fuse_backing_map map = { .fd = path_fd };
	int id = ioctl(mirror->fuse_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

static int backing_add(struct cgfs_mirror *mirror, struct backing **bucket, uint64_t node, int *path_fd)
{
	struct backing *backing = malloc(sizeof(*backing));
	int id;

	if (!backing)
		return -ENOMEM;
	id = register_file(mirror, *path_fd);
	if (id < 0) {
		free(backing);
		return id;
	}
	*backing = (struct backing){ .next = *bucket, .node = node, .path_fd = *path_fd, .id = id, .count = 1 };
	*path_fd = -1;
	*bucket = backing;
	return id;
}

int backing_get(struct cgfs_mirror *mirror, uint64_t node, int *path_fd)
{
	unsigned int hash = bucket_of(node);
	struct backings *backings = mirror->backings;
	struct backing *backing;
	int id;

	pthread_mutex_lock(&backings->locks[hash % N_LOCKS]);
	for (backing = backings->buckets[hash]; backing && backing->node != node; backing = backing->next)
		;
	if (backing) {
		backing->count++;
		id = backing->id;
	} else {
		id = backing_add(mirror, &backings->buckets[hash], node, path_fd);
	}
	pthread_mutex_unlock(&backings->locks[hash % N_LOCKS]);
	return id;
}

void backing_put(struct cgfs_mirror *mirror, uint64_t node)
{
	unsigned int hash = bucket_of(node);
	struct backings *backings = mirror->backings;
	struct backing **link, *backing;

	pthread_mutex_lock(&backings->locks[hash % N_LOCKS]);
	for (link = &backings->buckets[hash]; *link && (*link)->node != node; link = &(*link)->next)
		;
	backing = *link;
	if (backing && !--backing->count) {
		uint32_t id = backing->id;

		ioctl(mirror->fuse_fd, FUSE_DEV_IOC_BACKING_CLOSE, &id);
		*link = backing->next;
		close(backing->path_fd);
		free(backing);
	}
	pthread_mutex_unlock(&backings->locks[hash % N_LOCKS]);
}

int backing_open_path(struct cgfs_mirror *mirror, uint64_t node)
{
	unsigned int hash = bucket_of(node);
	struct backings *backings = mirror->backings;
	const struct backing *backing;
	int fd = -ESTALE;

	pthread_mutex_lock(&backings->locks[hash % N_LOCKS]);
	for (backing = backings->buckets[hash]; backing && backing->node != node; backing = backing->next)
		;
	if (backing) {
		fd = fcntl(backing->path_fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			fd = -errno;
	}
	pthread_mutex_unlock(&backings->locks[hash % N_LOCKS]);
	return fd;
}
