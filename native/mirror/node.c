/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a node id says, and how its file is found: by handle, so that nothing is kept per inode. */
#include "internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "../cgroup.h"
#include "watch.h"

_Static_assert(sizeof(ino_t) == 8, "st_ino is the whole kernfs id on 64 bit machines only");

static bool has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name), suffix_length = strlen(suffix);

	return length > suffix_length && strcmp(name + length - suffix_length, suffix) == 0;
}

enum file_kind kind_of_name(const char *name)
{
	if (strcmp(name, "cgroup.procs") == 0)
		return KIND_PROCS;
	if (strcmp(name, "cgroup.threads") == 0)
		return KIND_THREADS;
	if (is_switch(name))
		return KIND_SWITCH;
	if (has_suffix(name, ".pressure"))
		return KIND_PRESSURE;
	if (has_suffix(name, ".events") || has_suffix(name, ".events.local"))
		return KIND_EVENTS;
	return KIND_PLAIN;
}

uint64_t node_id(const struct cgfs_mirror *mirror, const char *name, uint64_t kernfs_id)
{
	if (kernfs_id == mirror->source_id)
		return FUSE_ROOT_ID;
	kernfs_id &= NODE_ID_MASK;
	return name ? (uint64_t)kind_of_name(name) << 56 | kernfs_id : kernfs_id;
}

uint64_t node_kernfs_id(const struct cgfs_mirror *mirror, uint64_t node)
{
	uint64_t id = node & NODE_ID_MASK;

	return id == FUSE_ROOT_ID ? mirror->source_id : id;
}

int node_open_path(const struct cgfs_mirror *mirror, uint64_t node)
{
	return node_open(mirror, node, O_PATH);
}

static int node_open_on(const struct cgfs_mirror *mirror, int mount_fd, uint64_t node, int flags)
{
	uint64_t id = node_kernfs_id(mirror, node);
	int fd = cgfs_open_by_kernfs_id(mount_fd, id, flags);

	/* The kernel does not look for the root again: when it is gone it is gone. */
	return fd == -ESTALE && id == mirror->source_id ? -ENOENT : fd;
}

int node_open(const struct cgfs_mirror *mirror, uint64_t node, int flags)
{
	return node_open_on(mirror, mirror->source_fd, node, flags);
}

int node_open_seen(const struct cgfs_mirror *mirror, uint64_t node, int flags)
{
	return node_open_on(mirror, mirror->seen_fd, node, flags);
}

void fd_path(int fd, char path[FD_PATH_SIZE])
{
	snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

int reopen(int path_fd, int flags)
{
	char path[FD_PATH_SIZE];
	int fd;

	fd_path(path_fd, path);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int kernfs_id_at(int dir_fd, const char *name, int flags, uint64_t *id)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, flags) < 0)
		return -errno;
	*id = st.st_ino;
	return 0;
}

int control_index(const struct cgfs_mirror *mirror, const char *name, size_t length)
{
	for (size_t i = 0; i < mirror->n_control_names; i++) {
		if (strlen(mirror->control_names[i]) == length && memcmp(mirror->control_names[i], name, length) == 0)
			return (int)i;
	}
	return -1;
}
