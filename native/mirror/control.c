/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests on control files. What is known here (control_known.c) is answered here. So are opens: who opens a file for
 * writing is kept with it, and judged when he changes something. Everything else is asked of whoever decides about control
 * files (struct cgfs_control_operations), in the thread that has the request. It may wait: for its caller, and nobody else.
 *
 * A reader sees one content whole, that of his read at offset 0.
 */
#include "control_known.h"

#include <fcntl.h>

#include "files.h"
#include "control_turns.h"
#include "watch.h"

/*
 * Python runs one thread at a time, and gives way at each system call: with many threads in it, each waits for all others,
 * again and again.
 */
static struct turns turns = TURNS_INITIALIZER(turns, 3, 12, 50);

/*
 * Wait for the turn of whoever is behind the caller. Somebody else reads requests meanwhile. Returns 0, and end_asking() is
 * to follow, or -ENOTCONN: the connection has ended meanwhile, and what is in /proc about the caller is about somebody else.
 */
static int begin_asking(struct request *request, struct turn *turn)
{
	loop_may_block(request);
	turn_take(&turns, turn, &request->caller);
	if (!loop_has_ended(request))
		return 0;
	turn_give(&turns, turn);
	return -ENOTCONN;
}

static void end_asking(struct turn *turn)
{
	turn_give(&turns, turn);
}

/* Between the two: whoever decides, and his context. */
static const struct cgfs_control_operations *decider(const struct request *request)
{
	return request->mirror->control;
}

static void *context_of(const struct request *request)
{
	return request->mirror->control_context;
}

/*
 * Ask what the file is and says, and remember it where that may be: it is made of state. Returns 0, and the content is to be
 * put, or -errno.
 */
static int ask_snapshot(struct request *request, uint64_t node, const struct state *state, struct fuse_attr *attr,
			struct content **content)
{
	struct cgfs_control_snapshot snapshot = {};
	char *data = reply_buffer(request);
	struct turn turn;
	int size = begin_asking(request, &turn);

	if (size)
		return size;
	size = decider(request)->snapshot(context_of(request), node, &snapshot, data, MAX_IO);
	end_asking(&turn);
	if (size < 0)
		return size;
	*content = content_get(request->mirror->contents, data, (size_t)size);
	if (!*content)
		return -ENOMEM;
	*attr = control_attributes(node, &snapshot, (size_t)size);
	if (snapshot.lasting)
		know(request->mirror, state, attr, *content);
	return 0;
}

/* --- attributes ------------------------------------------------------------------------------------------------------- */

static bool are_known(struct request *request, uint64_t node, struct state *state, struct fuse_attr *attr)
{
	struct directory KEEP_DIRECTORY dir = directory_open(request->mirror, node, O_RDONLY);

	return known_attributes(request->mirror, dir.fd, node, state, attr);
}

static int attributes_of(struct request *request, uint64_t node, struct fuse_attr *attr)
{
	struct content *content;
	struct state state;
	int error;

	if (are_known(request, node, &state, attr))
		return 0;
	error = ask_snapshot(request, node, &state, attr, &content);
	if (error)
		return error == -ENODEV ? gone_error(request) : error;
	content_put(content);
	return 0;
}

void handle_control_lookup(struct request *request, size_t index)
{
	uint64_t node = control_node(request->header->nodeid, index);
	struct fuse_entry_out entry = control_entry(node);
	int error = attributes_of(request, node, &entry.attr);

	if (error)
		reply_error(request, error);
	else
		reply(request, &entry, sizeof(entry));
}

void handle_control_getattr(struct request *request)
{
	struct fuse_attr_out out = {};
	int error = attributes_of(request, request->header->nodeid, &out.attr);

	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

static int change_attributes(struct request *request, const struct cgfs_control_change *change)
{
	struct turn turn;
	int error = begin_asking(request, &turn);

	if (error)
		return error;
	error = decider(request)->setattr(context_of(request), request->header->nodeid, &request->caller, change);
	end_asking(&turn);
	return error;
}

/* A new size or time is accepted and means nothing, as cgroup2 does with sizes. */
void handle_control_setattr(struct request *request)
{
	const struct fuse_setattr_in *in = request->body;
	const struct cgfs_control_change change = {
		.mode = in->valid & FATTR_MODE ? (int64_t)(in->mode & 07777) : -1,
		.uid = in->valid & FATTR_UID ? (int64_t)in->uid : -1,
		.gid = in->valid & FATTR_GID ? (int64_t)in->gid : -1,
	};
	int error = 0;

	if (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		error = change_attributes(request, &change);
	if (error)
		reply_error(request, error);
	else
		handle_control_getattr(request);
}

/* --- open files ------------------------------------------------------------------------------------------------------- */

/* Keep who has opened the file for writing. He may have 65,536 groups; a thousand cost him nothing. Returns 0 or -errno. */
static int keep_opener(struct request *request, uint64_t file_handle)
{
	char *opener = reply_buffer(request);
	struct open_file *file;
	int size, error;

	loop_may_block(request);
	size = cgfs_credentials_read(&request->caller, (struct cgfs_credentials *)opener, MAX_IO);
	if (size < 0)
		return size;
	if (loop_has_ended(request))	/* who is in /proc may be somebody else since */
		return -ENOTCONN;
	/* Nobody else has heard of the file yet. */
	file = file_get(request->mirror, request->header->nodeid, file_handle);
	error = file_charge(request, file, (unsigned int)size / LIKE_A_DESCRIPTOR);
	if (!error) {
		file->opener = content_get(request->mirror->contents, opener, (size_t)size);
		error = file->opener ? 0 : -ENOMEM;
	}
	file_put(file);
	return error;
}

/* Who has opened the file for writing, or NULL. */
static const struct cgfs_credentials *opener_of(const struct open_file *file)
{
	return file->opener ? (const struct cgfs_credentials *)file->opener->data : NULL;
}

/* O_TRUNC and O_APPEND mean nothing. */
void handle_control_open(struct request *request)
{
	const struct fuse_open_in *in = request->body;
	struct mirror_open_out out = {.open_flags = FOPEN_DIRECT_IO};
	int error = file_add(request, -1, false, &out.fh);

	if (!error && (in->flags & O_ACCMODE) != O_RDONLY) {
		error = keep_opener(request, out.fh);
		if (error)
			file_put(file_remove(request->mirror, out.fh));
	}
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

static struct content *content_known(struct request *request, uint64_t node, struct state *state)
{
	struct directory KEEP_DIRECTORY dir = directory_open(request->mirror, node, O_RDONLY);

	return known_content(request->mirror, dir.fd, node, state);
}

/* What the file says now, to be put; NULL, and an error, where that cannot be said. */
static struct content *content_now(struct request *request, int *error)
{
	uint64_t node = request->header->nodeid;
	struct fuse_attr attr;
	struct state state;
	struct content *content = content_known(request, node, &state);

	if (!content)
		*error = ask_snapshot(request, node, &state, &attr, &content);
	return content;
}

/*
 * What the file's reader has begun to read; at offset 0, or where he has begun nothing, he begins anew. Who has had his share
 * of memory does so with each read.
 */
static struct content *content_to_read(struct request *request, struct open_file *file, uint64_t offset, int *error)
{
	struct content *content = NULL, *former;
	uint64_t user = descriptor_user(request);

	pthread_mutex_lock(&file->lock);
	if (offset && file->content)
		content = content_share(file->content);
	pthread_mutex_unlock(&file->lock);
	if (content)
		return content;
	content = content_now(request, error);
	if (!content)
		return NULL;
	pthread_mutex_lock(&file->lock);
	former = file->content;
	file->content = file_charge_reader(file, user, content->size) ? content_share(content) : NULL;
	pthread_mutex_unlock(&file->lock);
	if (former)
		content_put(former);
	return content;
}

void handle_control_read(struct request *request)
{
	const struct fuse_read_in *in = request->body;
	struct open_file *file = file_get(request->mirror, request->header->nodeid, in->fh);
	struct content *content;
	int error = -EBADF;

	if (!file) {
		reply_error(request, error);
		return;
	}
	if (!in->offset)
		poller_control_read(request->mirror, request->header->nodeid, in->fh);
	content = content_to_read(request, file, in->offset, &error);
	file_put(file);
	if (!content) {
		reply_error(request, error);
		return;
	}
	reply_part(request, in, content->data, content->size);
	content_put(content);
}

static int write_command(struct request *request, const struct cgfs_credentials *opener, const char *data, uint32_t size)
{
	struct turn turn;
	int error = begin_asking(request, &turn);

	if (error)
		return error;
	error = decider(request)->write(context_of(request), request->header->nodeid, opener, &request->caller, data, size);
	end_asking(&turn);
	return error;
}

void handle_control_write(struct request *request)
{
	const struct fuse_write_in *in = request->body;
	const struct fuse_write_out out = {.size = in->size};
	struct open_file *file = file_get(request->mirror, request->header->nodeid, in->fh);
	int error;

	if (!file || !file->opener)
		error = -EBADF;
	else if (in->size != request->body_size - sizeof(*in))
		error = -EINVAL;
	else
		error = write_command(request, opener_of(file), (const char *)(in + 1), in->size);
	if (file)
		file_put(file);
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

static int perform_ioctl(struct request *request, const struct cgfs_credentials *opener, const struct fuse_ioctl_in *in)
{
	struct turn turn;
	int error = begin_asking(request, &turn);

	if (error)
		return error;
	error = decider(request)->ioctl(context_of(request), request->header->nodeid, opener, &request->caller, in->cmd,
					in + 1, in->in_size);
	end_asking(&turn);
	return error;
}

/* The kernel sends as many bytes as the command's number says. */
void handle_control_ioctl(struct request *request)
{
	const struct fuse_ioctl_in *in = request->body;
	const struct fuse_ioctl_out out = {};
	struct open_file *file = file_get(request->mirror, request->header->nodeid, in->fh);
	int error;

	if (!file)
		error = -EBADF;
	else if (in->in_size != request->body_size - sizeof(*in))
		error = -ENOTTY;
	else
		error = perform_ioctl(request, opener_of(file), in);
	if (file)
		file_put(file);
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

void handle_control_release(struct request *request)
{
	const struct fuse_release_in *in = request->body;
	struct open_file *file = file_remove(request->mirror, in->fh);

	poller_forget(request->mirror, request->header->nodeid, in->fh);
	if (file)
		file_put(file);
	reply_error(request, 0);
}

/* --- notifications ---------------------------------------------------------------------------------------------------- */

void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node)
{
	poller_control_changed(mirror, node);
	replay_add(mirror, REPLAY_MODIFIED, node, NULL, 0);
}
