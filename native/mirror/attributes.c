/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes, extended ones included. Changes are made as the caller; the kernel has checked what it can before. */
#include <fcntl.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "files.h"
#include "identity.h"
#include "watch.h"

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

static void reply_attributes(const struct request *request, int fd)
{
	struct fuse_attr_out out = {};
	struct stat st;

	if (fstat(fd, &st) < 0) {
		reply_error(request, -errno);
		return;
	}
	out.attr_valid = sized_by_content(request->mirror, st.st_mode) ? 0 : CACHE_SECONDS;
	size_by_content(request->mirror, fd, NULL, &st);
	fill_attr(&st, &out.attr);
	reply(request, &out, sizeof(out));
}

/* A descriptor (O_PATH) of what the request is about, be it removed, if somebody has it open; or -errno. */
static int open_node(struct request *request)
{
	int fd = node_open_even_removed(request->mirror, request->header->nodeid);

	return fd == -ESTALE ? gone_error(request) : fd;
}

/* The kernel asks for them also to judge who may look up names in a directory. */
void handle_getattr(struct request *request)
{
	CLEANUP_FD int fd = open_node(request);

	if (fd < 0)
		reply_error(request, fd);
	else
		reply_attributes(request, fd);
}

static struct timespec time_to_set(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
	if (!(valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
}

/*
 * cgroup2 lets a file be truncated to any size it could have and changes nothing (fs/kernfs/inode.c), but that a
 * truncation takes away the set-id bits, for which the kernel asks here. As the daemon, since whoever has the file open
 * for writing may truncate it whatever its mode.
 */
static int truncate_node(const struct fuse_setattr_in *in, int fd)
{
	char path[FD_PATH_SIZE];
	struct stat st;
	mode_t lost = S_ISUID;

	fd_path(fd, path);
	if (truncate(path, (off_t)in->size) < 0)
		return -errno;
	if (!(in->valid & FATTR_KILL_SUIDGID))
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_mode & S_IXGRP)
		lost |= S_ISGID;
	if (!(st.st_mode & lost))
		return 0;
	return chmod(path, st.st_mode & 07777 & ~lost) < 0 ? -errno : 0;
}

/* The mode comes before the owner: whoever gives a file away may not change its mode any more. */
static int set_attributes(const struct fuse_setattr_in *in, int fd)
{
	char path[FD_PATH_SIZE];

	fd_path(fd, path);
	if (in->valid & FATTR_MODE && chmod(path, in->mode & 07777) < 0)
		return -errno;
	if (in->valid & (FATTR_UID | FATTR_GID) &&
	    chown(path, in->valid & FATTR_UID ? in->uid : (uid_t)-1, in->valid & FATTR_GID ? in->gid : (gid_t)-1) < 0)
		return -errno;
	if (in->valid & (FATTR_ATIME | FATTR_MTIME)) {
		struct timespec times[2] = {
			time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
			time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
		};

		if (utimensat(AT_FDCWD, path, times, 0) < 0)
			return -errno;
	}
	return 0;
}

static int set_attributes_as_caller(const struct request *request, int fd)
{
	struct identity identity AS_CALLER = {};
	int error = identity_take(&identity, &request->caller, 0);

	return error ? error : set_attributes(request->body, fd);
}

void handle_setattr(struct request *request)
{
	const struct fuse_setattr_in *in = request->body;
	CLEANUP_FD int fd = open_node(request);
	int error;

	if (fd < 0) {
		reply_error(request, fd);
		return;
	}
	loop_may_block(request);
	error = set_attributes_as_caller(request, fd);
	if (!error && in->valid & FATTR_SIZE)
		error = truncate_node(in, fd);
	if (error)
		reply_error(request, error);
	else
		reply_attributes(request, fd);
}

void handle_statfs(struct request *request)
{
	struct fuse_statfs_out out = {};
	struct statfs st;

	if (fstatfs(request->mirror->source_fd, &st) < 0) {
		reply_error(request, -errno);
		return;
	}
	out.st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namelen,
		.frsize = (uint32_t)st.f_frsize,
	};
	reply(request, &out, sizeof(out));
}

/* --- extended attributes: by path, since a descriptor opened with O_PATH will not do ----------------------------- */

static void reply_xattr(const struct request *request, ssize_t size, const void *data, size_t room)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)size};

	if (size < 0)
		reply_error(request, (int)size);
	else if (room == 0)
		reply(request, &out, sizeof(out));
	else
		reply(request, data, (size_t)size);
}

/* As root: the kernel has checked what the caller may read, by the same rules as on cgroup2 (fs/xattr.c). */
static ssize_t get_xattr(struct request *request, const char *name, char *data, size_t room)
{
	CLEANUP_FD int fd = open_node(request);
	char path[FD_PATH_SIZE];
	ssize_t size;

	if (fd < 0)
		return fd;
	fd_path(fd, path);
	size = getxattr(path, name, data, room);
	return size < 0 ? -errno : size;
}

void handle_getxattr(struct request *request)
{
	const struct fuse_getxattr_in *in = request->body;
	uint64_t node = request->header->nodeid;
	size_t room = in->size < MAX_IO ? in->size : MAX_IO;
	char *data = reply_buffer(request);
	struct counts counts;
	const char *name;
	ssize_t size = request_text(request, sizeof(*in), &name);

	if (!size && absent_is_known(request->mirror, node, name, &counts)) {
		size = -ENODATA;
	} else if (!size) {
		size = get_xattr(request, name, data, room);
		if (size == -ENODATA)
			absent_note(request->mirror, node, name, &counts);
	}
	reply_xattr(request, size, data, room);
}

static ssize_t list_as_caller(const struct request *request, int fd, char *data, size_t room)
{
	struct identity identity AS_CALLER = {};
	int error = identity_take(&identity, &request->caller, 0);
	char path[FD_PATH_SIZE];
	ssize_t size;

	if (error)
		return error;
	fd_path(fd, path);
	size = listxattr(path, data, room);
	return size < 0 ? -errno : size;
}

/* As the caller: cgroup2 itself leaves out the trusted ones for those without CAP_SYS_ADMIN. */
void handle_listxattr(struct request *request)
{
	const struct fuse_getxattr_in *in = request->body;
	CLEANUP_FD int fd = open_node(request);
	size_t room = in->size < MAX_IO ? in->size : MAX_IO;
	char *data = reply_buffer(request);

	reply_xattr(request, fd < 0 ? fd : list_as_caller(request, fd, data, room), data, room);
}

static int set_xattr_as_caller(const struct request *request, int fd, const char *name, const void *value, size_t size,
			       int flags)
{
	struct identity identity AS_CALLER = {};
	int error = identity_take(&identity, &request->caller, 0);
	char path[FD_PATH_SIZE];

	if (error)
		return error;
	fd_path(fd, path);
	if (!value)
		return removexattr(path, name) < 0 ? -errno : 0;
	return setxattr(path, name, value, size, flags) < 0 ? -errno : 0;
}

void handle_setxattr(struct request *request)
{
	const struct mirror_setxattr_in *in = request->body;
	CLEANUP_FD int fd = -1;
	const char *name = (const char *)(in + 1);
	size_t rest = request->body_size - sizeof(*in);
	size_t length = strnlen(name, rest);

	/* The name, its NUL, and the value up to the end. */
	if (length == 0 || length == rest || rest - length - 1 != in->size) {
		reply_error(request, -EINVAL);
		return;
	}
	fd = open_node(request);
	if (fd < 0) {
		reply_error(request, fd);
		return;
	}
	loop_may_block(request);
	reply_error(request, set_xattr_as_caller(request, fd, name, name + length + 1, in->size, (int)in->flags));
}

void handle_removexattr(struct request *request)
{
	CLEANUP_FD int fd = open_node(request);
	const char *name;
	int error = fd < 0 ? fd : request_text(request, 0, &name);

	if (!error) {
		loop_may_block(request);
		error = set_xattr_as_caller(request, fd, name, NULL, 0, 0);
	}
	reply_error(request, error);
}

/* --- of control files: none, and none can be set ----------------------------------------------------------------- */

void handle_control_getxattr(struct request *request)
{
	reply_error(request, -ENODATA);
}

void handle_control_listxattr(struct request *request)
{
	const struct fuse_getxattr_in *in = request->body;

	reply_xattr(request, 0, "", in->size);
}

void handle_control_setxattr(struct request *request)
{
	reply_error(request, -EOPNOTSUPP);
}

void handle_control_removexattr(struct request *request)
{
	reply_error(request, -ENODATA);
}
