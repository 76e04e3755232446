/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which handler answers which request, of a mirrored file and of a control file, and how much a request must bring. */
#include "cgfs.h"
#include "watch.h"

struct operation {
	void (*mirrored)(struct request *request);
	void (*control)(struct request *request);
	size_t body_size;	/* the least that may follow the header */
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

/* FORGET of a control file: nothing was remembered, and no reply is expected. */
static void ignore(struct request *request)
{
	(void)request;
}

static const struct operation operations[] = {
	[FUSE_LOOKUP] = {handle_lookup, not_a_directory, 2},
	[FUSE_FORGET] = {handle_forget, ignore, 0},
	[FUSE_BATCH_FORGET] = {handle_batch_forget, handle_batch_forget, sizeof(struct fuse_batch_forget_in)},
	[FUSE_GETATTR] = {handle_getattr, handle_control_getattr, sizeof(struct fuse_getattr_in)},
	[FUSE_SETATTR] = {handle_setattr, handle_control_setattr, sizeof(struct fuse_setattr_in)},
	[FUSE_MKNOD] = {handle_refused_creation, not_a_directory, sizeof(struct fuse_mknod_in)},
	[FUSE_CREATE] = {handle_refused_creation, not_a_directory, sizeof(struct fuse_create_in)},
	[FUSE_SYMLINK] = {handle_refused_creation, not_a_directory, 0},
	[FUSE_LINK] = {handle_refused_creation, not_a_directory, 0},
	[FUSE_UNLINK] = {handle_refused_creation, not_a_directory, 0},
	[FUSE_RENAME] = {handle_refused_creation, not_a_directory, 0},
	[FUSE_RENAME2] = {handle_refused_creation, not_a_directory, 0},
	[FUSE_MKDIR] = {handle_mkdir, not_a_directory, sizeof(struct fuse_mkdir_in)},
	[FUSE_RMDIR] = {handle_rmdir, not_a_directory, 2},
	[FUSE_READDIR] = {handle_readdir, not_a_directory, sizeof(struct fuse_read_in)},
	[FUSE_READDIRPLUS] = {handle_readdirplus, not_a_directory, sizeof(struct fuse_read_in)},
	[FUSE_FSYNCDIR] = {invalid, not_a_directory, 0},
	[FUSE_STATFS] = {handle_statfs, handle_statfs, 0},
	[FUSE_OPEN] = {handle_open, handle_control_open, sizeof(struct fuse_open_in)},
	[FUSE_READ] = {handle_read, handle_control_read, sizeof(struct fuse_read_in)},
	[FUSE_WRITE] = {handle_write, handle_control_write, sizeof(struct fuse_write_in)},
	[FUSE_RELEASE] = {handle_release, handle_control_release, sizeof(struct fuse_release_in)},
	[FUSE_FSYNC] = {succeed, succeed, sizeof(struct fuse_fsync_in)},
	[FUSE_GETXATTR] = {handle_getxattr, handle_control_getxattr, sizeof(struct fuse_getxattr_in)},
	[FUSE_LISTXATTR] = {handle_listxattr, handle_control_listxattr, sizeof(struct fuse_getxattr_in)},
	[FUSE_SETXATTR] = {handle_setxattr, handle_control_setxattr, sizeof(struct mirror_setxattr_in)},
	[FUSE_REMOVEXATTR] = {handle_removexattr, handle_control_removexattr, 2},
	[FUSE_POLL] = {handle_poll, handle_poll, sizeof(struct fuse_poll_in)},
	[FUSE_IOCTL] = {no_such_ioctl, handle_control_ioctl, sizeof(struct fuse_ioctl_in)},
	[FUSE_INTERRUPT] = {handle_interrupt, handle_interrupt, sizeof(struct fuse_interrupt_in)},
	[FUSE_DESTROY] = {succeed, succeed, 0},
};

static bool changes_something(const struct request *request)
{
	const struct fuse_open_in *open = request->body;
	const struct fuse_ioctl_in *ioctl = request->body;

	switch (request->header->opcode) {
	case FUSE_OPEN:
		return !open_reads_only(open->flags);
	case FUSE_WRITE:
		return node_is_control(request->header->nodeid);	/* other files stay as they were opened, as on cgroup2 */
	case FUSE_IOCTL:
		return ioctl->cmd == CGFS_IOC_ATTACH;
	case FUSE_SETATTR:
	case FUSE_MKDIR:
	case FUSE_RMDIR:
	case FUSE_MKNOD:
	case FUSE_CREATE:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		return true;
	}
	return false;
}

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
	else if (changes_something(request) && is_read_only(request->mirror->seen_fd))	/* it may be made so at any time */
		reply_error(request, -EROFS);
	else if (!node_is_control(header->nodeid))
		operation->mirrored(request);
	else if (node_control_index(header->nodeid) < request->mirror->n_control_names)
		operation->control(request);
	else
		reply_error(request, -ESTALE);
}
