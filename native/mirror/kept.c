/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory that was open last is kept for whoever comes next: he who looks for a name in it looks for others, too, and
 * the three control files of a cgroup are asked for one after the other. Who uses it has it for himself.
 *
 * It may have been removed since. Then nothing is found in it any more: no name (kernfs_dop_revalidate() and
 * kernfs_iop_lookup() in fs/kernfs/dir.c), and no program (css_tryget_online_from_dir() in kernel/cgroup/cgroup.c). So what is
 * found is true, and what is not is to be looked for once more, in the directory opened anew. When something was removed, it is
 * kept no longer.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "internal.h"

struct kept {
	pthread_mutex_t lock;		/* guards the rest; no other is taken under it */
	uint64_t id;
	int fd;				/* -1: none is kept */
};

int kept_create(struct cgfs_mirror *mirror)
{
	mirror->kept = calloc(1, sizeof(*mirror->kept));
	if (!mirror->kept)
		return -ENOMEM;
	pthread_mutex_init(&mirror->kept->lock, NULL);
	mirror->kept->fd = -1;
	return 0;
}

void kept_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->kept)
		return;
	kept_let_go(mirror);
	pthread_mutex_destroy(&mirror->kept->lock);
	free(mirror->kept);
	mirror->kept = NULL;
}

/* If it is the one that is kept. Returns -1 if it is not. */
static int take(struct kept *kept, uint64_t id)
{
	int fd = -1;

	pthread_mutex_lock(&kept->lock);
	if (kept->id == id) {
		fd = kept->fd;
		kept->fd = -1;
	}
	pthread_mutex_unlock(&kept->lock);
	return fd;
}

struct directory directory_open(struct cgfs_mirror *mirror, uint64_t node)
{
	struct directory directory = {
		.mirror = mirror,
		.id = node_kernfs_id(mirror, node),
		.removals = watch_removals(mirror),
	};

	directory.fd = take(mirror->kept, directory.id);
	directory.was_kept = directory.fd >= 0;
	if (!directory.was_kept)
		directory.fd = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	return directory;
}

void directory_keep(struct directory *directory)
{
	struct kept *kept = directory->mirror->kept;
	int fd = directory->fd;

	if (fd < 0)
		return;
	pthread_mutex_lock(&kept->lock);
	if (directory->removals == watch_removals(directory->mirror)) {
		fd = kept->fd;
		kept->fd = directory->fd;
		kept->id = directory->id;
	}
	pthread_mutex_unlock(&kept->lock);
	close_fd(&fd);
}

void directory_close(struct directory *directory)
{
	close_fd(&directory->fd);
	directory->fd = -1;
}

void kept_let_go(struct cgfs_mirror *mirror)
{
	struct kept *kept = mirror->kept;
	int fd;

	pthread_mutex_lock(&kept->lock);
	fd = kept->fd;
	kept->fd = -1;
	pthread_mutex_unlock(&kept->lock);
	close_fd(&fd);
}
