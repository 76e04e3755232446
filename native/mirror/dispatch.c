/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which handler answers which request, of a mirrored file and of a control file, how much a request must bring, and whether it
 * changes something, which is EROFS where SOURCE is read-only.
 */
#include "cgfs.h"
#include "watch.h"

struct operation {
	void (*mirrored)(struct request *request);
	void (*control)(struct request *request);
	size_t body_size;	/* the least that may follow the header */
	bool (*changes)(const struct request *request);
};

static void not_supported(struct request *request)
{
	/* The kernel remembers it and does not ask again: FLUSH, OPENDIR, ACCESS, LSEEK, STATX, ... */
	reply_error(request, -ENOSYS);
}

/* FSYNC too: cgroup2's files have nothing to sync. */
static void succeed(struct request *request)
{
	reply_error(request, 0);
}

static void not_a_directory(struct request *request)
{
	reply_error(request, -ENOTDIR);
}

static void no_such_ioctl(struct request *request)
{
	reply_error(request, -ENOTTY);
}

/* Directories of cgroup2 cannot be synchronised. ENOSYS would make it succeed from then on. */
static void invalid(struct request *request)
{
	reply_error(request, -EINVAL);
}

static bool never(const struct request *request)
{
	(void)request;
	return false;
}

static bool always(const struct request *request)
{
	(void)request;
	return true;
}

static bool opens_for_writing(const struct request *request)
{
	const struct fuse_open_in *in = request->body;

	return !open_reads_only(in->flags);
}

/* Other files stay as they were opened, as on cgroup2. */
static bool writes_control(const struct request *request)
{
	return node_is_control(request->header->nodeid);
}

static bool attaches(const struct request *request)
{
	const struct fuse_ioctl_in *in = request->body;

	return node_is_control(request->header->nodeid) && in->cmd == CGFS_IOC_ATTACH;
}

static const struct operation operations[] = {
	[FUSE_LOOKUP] = {handle_lookup, not_a_directory, 2, never},
	[FUSE_FORGET] = {handle_forget, handle_forget, 0, never},
	[FUSE_BATCH_FORGET] = {handle_batch_forget, handle_batch_forget, sizeof(struct fuse_batch_forget_in), never},
	[FUSE_GETATTR] = {handle_getattr, handle_control_getattr, sizeof(struct fuse_getattr_in), never},
	[FUSE_SETATTR] = {handle_setattr, handle_control_setattr, sizeof(struct fuse_setattr_in), always},
	[FUSE_MKNOD] = {handle_refused_creation, not_a_directory, sizeof(struct fuse_mknod_in), always},
	[FUSE_CREATE] = {handle_refused_creation, not_a_directory, sizeof(struct fuse_create_in), always},
	[FUSE_SYMLINK] = {handle_refused_creation, not_a_directory, 0, always},
	[FUSE_LINK] = {handle_refused_creation, not_a_directory, 0, always},
	[FUSE_UNLINK] = {handle_refused_creation, not_a_directory, 0, always},
	[FUSE_RENAME] = {handle_refused_creation, not_a_directory, 0, always},
	[FUSE_RENAME2] = {handle_refused_creation, not_a_directory, 0, always},
	[FUSE_MKDIR] = {handle_mkdir, not_a_directory, sizeof(struct fuse_mkdir_in), always},
	[FUSE_RMDIR] = {handle_rmdir, not_a_directory, 2, always},
	[FUSE_READDIR] = {handle_readdir, not_a_directory, sizeof(struct fuse_read_in), never},
	[FUSE_READDIRPLUS] = {handle_readdirplus, not_a_directory, sizeof(struct fuse_read_in), never},
	[FUSE_FSYNCDIR] = {invalid, not_a_directory, 0, never},
	[FUSE_STATFS] = {handle_statfs, handle_statfs, 0, never},
	[FUSE_OPEN] = {handle_open, handle_control_open, sizeof(struct fuse_open_in), opens_for_writing},
	[FUSE_READ] = {handle_read, handle_control_read, sizeof(struct fuse_read_in), never},
	[FUSE_WRITE] = {handle_write, handle_control_write, sizeof(struct fuse_write_in), writes_control},
	[FUSE_RELEASE] = {handle_release, handle_control_release, sizeof(struct fuse_release_in), never},
	[FUSE_FSYNC] = {succeed, succeed, sizeof(struct fuse_fsync_in), never},
	[FUSE_GETXATTR] = {handle_getxattr, handle_control_getxattr, sizeof(struct fuse_getxattr_in), never},
	[FUSE_LISTXATTR] = {handle_listxattr, handle_control_listxattr, sizeof(struct fuse_getxattr_in), never},
	[FUSE_SETXATTR] = {handle_setxattr, handle_control_setxattr, sizeof(struct mirror_setxattr_in), always},
	[FUSE_REMOVEXATTR] = {handle_removexattr, handle_control_removexattr, 2, always},
	[FUSE_POLL] = {handle_poll, handle_poll, sizeof(struct fuse_poll_in), never},
	[FUSE_IOCTL] = {no_such_ioctl, handle_control_ioctl, sizeof(struct fuse_ioctl_in), attaches},
	[FUSE_INTERRUPT] = {handle_interrupt, handle_interrupt, sizeof(struct fuse_interrupt_in), never},
	[FUSE_DESTROY] = {succeed, succeed, 0, never},
};

void dispatch(struct request *request)
{
	const struct fuse_in_header *header = request->header;
	const struct operation *operation = NULL;

	if (replay_answers(request))
		return;
	if (header->opcode < sizeof(operations) / sizeof(operations[0]))
		operation = &operations[header->opcode];
	if (!operation || !operation->mirrored)
		not_supported(request);
	else if (request->body_size < operation->body_size)
		reply_error(request, -EINVAL);
	else if (operation->changes(request) && is_read_only(request->mirror->seen_fd))
		reply_error(request, -EROFS);
	else if (!node_is_control(header->nodeid))
		operation->mirrored(request);
	else if (node_control_index(header->nodeid) < request->mirror->n_control_names)
		operation->control(request);
	else
		reply_error(request, -ESTALE);
}
