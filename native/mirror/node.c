/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a node id says, and how its file is found: by handle, so that nothing is kept per inode.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "../cgroup.h"
#include "files.h"
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

void fill_attr(const struct stat *st, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = (uint32_t)st->st_rdev,
		.blksize = (uint32_t)st->st_blksize,
	};
}

void fill_entry(const struct cgfs_mirror *mirror, const char *name, const struct stat *st, struct fuse_entry_out *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->nodeid = node_id(mirror, S_ISDIR(st->st_mode) ? NULL : name, st->st_ino);
	if (S_ISDIR(st->st_mode) || names_add(mirror, name))
		entry->entry_valid = CACHE_SECONDS;
	entry->attr_valid = sized_by_content(mirror, st->st_mode) ? 0 : CACHE_SECONDS;
	fill_attr(st, &entry->attr);
}

int request_text(const struct request *request, size_t offset, const char **text)
{
	const char *start = (const char *)request->body + offset;
	size_t size;

	if (request->body_size < offset + 2)
		return -EINVAL;
	size = request->body_size - offset;
	if (memchr(start, '\0', size) != start + size - 1)
		return -EINVAL;
	*text = start;
	return 0;
}

int request_name(const struct request *request, size_t offset, const char **name)
{
	int error = request_text(request, offset, name);

	if (error)
		return error;
	/* cgroup2 itself sets no limit to the length of a name (there are none in fs/kernfs/dir.c), so neither do we. */
	if (strchr(*name, '/') || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
		return -EINVAL;
	return 0;
}
