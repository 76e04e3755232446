/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory that was open last is kept for whoever comes next: he who looks for a name in it looks for others, too, and
 * the three control files of a cgroup are asked for one after the other. Who uses it has it for himself.
 *
 * It may have been removed since. Then nothing is found in it any more: no name (kernfs_dop_revalidate() and
 * kernfs_iop_lookup() in fs/kernfs/dir.c), and no program (css_tryget_online_from_dir() in kernel/cgroup/cgroup.c). So what is
 * found is true; what is not may be there in the directory opened anew. When it is known that something was removed, it is kept
 * no longer.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "files.h"
#include "watch.h"

struct kept_directory {
	pthread_mutex_t lock;		/* guards the rest; no other is taken under it */
	struct directory is;		/* fd -1: none */
};

int kept_create(struct cgfs_mirror *mirror)
{
	mirror->kept = calloc(1, sizeof(*mirror->kept));
	if (!mirror->kept)
		return -ENOMEM;
	pthread_mutex_init(&mirror->kept->lock, NULL);
	mirror->kept->is.fd = -1;
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

/* If that is kept, and nothing was removed since. */
static void take(struct kept_directory *kept, struct directory *directory)
{
	const struct directory *is = &kept->is;

	pthread_mutex_lock(&kept->lock);
	if (is->fd >= 0 && is->node == directory->node && is->removals == directory->removals &&
	    !(is->flags & ~directory->flags)) {
		directory->fd = is->fd;
		directory->flags = is->flags;
		kept->is.fd = -1;
	}
	pthread_mutex_unlock(&kept->lock);
}

void directory_open_anew(struct directory *directory)
{
	close_fd(&directory->fd);
	directory->was_kept = false;
	directory->removals = watch_removals(directory->mirror);
	directory->fd = node_open(directory->mirror, directory->node, directory->flags | O_DIRECTORY);
}

struct directory directory_open(struct cgfs_mirror *mirror, uint64_t node, int flags)
{
	struct directory directory = {
		.mirror = mirror,
		.node = node & NODE_ID_MASK,
		.removals = watch_removals(mirror),
		.fd = -1,
		.flags = flags,
	};

	take(mirror->kept, &directory);
	directory.was_kept = directory.fd >= 0;
	if (!directory.was_kept)
		directory_open_anew(&directory);
	return directory;
}

void directory_keep(struct directory *directory)
{
	struct kept_directory *kept = directory->mirror->kept;
	int fd = directory->fd;

	if (fd < 0)
		return;
	pthread_mutex_lock(&kept->lock);
	if (directory->removals == watch_removals(directory->mirror)) {
		fd = kept->is.fd;
		kept->is = *directory;
	}
	pthread_mutex_unlock(&kept->lock);
	close_fd(&fd);
}

void kept_let_go(struct cgfs_mirror *mirror)
{
	struct kept_directory *kept = mirror->kept;
	int fd;

	pthread_mutex_lock(&kept->lock);
	fd = kept->is.fd;
	kept->is.fd = -1;
	pthread_mutex_unlock(&kept->lock);
	close_fd(&fd);
}
