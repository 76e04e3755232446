/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests on control files. What is known here (known.c) is answered here, and so are all opens for reading, which
 * decide nothing. Everything else is asked of whoever decides about control files (struct cgfs_control_operations), in the
 * thread that has the request. It may wait: for its caller, and nobody else.
 *
 * A reader sees one content whole, that of his read at offset 0.
 */
#include "known.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "turns.h"

/* Whoever decides, in a turn that answered() gives back. From here on somebody else reads requests. */
static const struct cgfs_control_operations *ask(struct request *request, struct turn *turn)
{
	loop_may_block(request);
	turn_take(request->mirror->turns, turn, request->worker->user);
	return request->mirror->control;
}

static void answered(const struct request *request, struct turn *turn)
{
	turn_give(request->mirror->turns, turn);
}

static void *context_of(const struct request *request)
{
	return request->mirror->control_context;
}

static struct cgfs_caller caller_of(const struct request *request)
{
	const struct fuse_in_header *header = request->header;

	return (struct cgfs_caller){.tid = header->pid, .uid = header->uid, .gid = header->gid};
}

/* --- attributes ---------------------------------------------------------------------------------------------------------- */

/* -ESTALE where the cgroup is gone: the kernel looks the path up again then, and finds that it is not there. */
static int attributes_of(struct request *request, uint64_t node, struct fuse_attr *attr)
{
	CLEANUP_FD int dir = node_open(request->mirror, node, O_RDONLY | O_DIRECTORY);
	struct cgfs_control_attributes attributes = {};
	struct state state;
	struct turn turn;
	int error;

	if (known_attributes(request->mirror, dir, node, &state, attr))
		return 0;
	error = ask(request, &turn)->getattr(context_of(request), node, &attributes);
	answered(request, &turn);
	if (error)
		return error == -ENODEV ? -ESTALE : error;
	*attr = control_attributes(node, &attributes);
	if (attributes.lasting)
		know_attributes(request->mirror, dir, &state, attr);
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

/* A new size or time is accepted and means nothing, as cgroup2 does with sizes. */
void handle_control_setattr(struct request *request)
{
	const struct fuse_setattr_in *in = request->body;
	struct cgfs_caller caller = caller_of(request);
	struct cgfs_control_change change = {
		.mode = in->valid & FATTR_MODE ? (int64_t)(in->mode & 07777) : -1,
		.uid = in->valid & FATTR_UID ? (int64_t)in->uid : -1,
		.gid = in->valid & FATTR_GID ? (int64_t)in->gid : -1,
	};
	struct turn turn;
	int error = 0;

	if (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID)) {
		error = ask(request, &turn)->setattr(context_of(request), request->header->nodeid, &caller, &change);
		answered(request, &turn);
	}
	if (error)
		reply_error(request, error);
	else
		handle_control_getattr(request);
}

/* --- open files ------------------------------------------------------------------------------------------------------------ */

/* Keep who has opened the file for writing. Returns 0 or -errno. */
static int keep_opener(struct request *request, uint64_t file_handle)
{
	struct cgfs_caller caller = caller_of(request);
	struct open_file *file = file_get(request->mirror, file_handle);
	char *opener = reply_buffer(request);
	struct turn turn;
	int size = ask(request, &turn)->open(context_of(request), request->header->nodeid, &caller, opener, MAX_IO);

	answered(request, &turn);
	if (size >= 0) {
		/* Nobody else has heard of the file yet. */
		file->opener = malloc((size_t)size + 1);
		file->opener_size = (size_t)size;
		if (file->opener)
			memcpy(file->opener, opener, (size_t)size);
		else
			size = -ENOMEM;
	}
	file_put(file);
	return size < 0 ? size : 0;
}

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

/* What the file says now, to be put; NULL, and an error, where that cannot be said. */
static struct content *content_now(struct request *request, int *error)
{
	char *data = reply_buffer(request);
	struct state state;
	struct content *content = known_content(request->mirror, request->header->nodeid, &state);
	bool lasting = false;
	struct turn turn;
	int size;

	if (content)
		return content;
	size = ask(request, &turn)->content(context_of(request), request->header->nodeid, data, MAX_IO, &lasting);
	answered(request, &turn);
	content = size < 0 ? NULL : content_get(request->mirror->contents, data, (size_t)size);
	if (content && lasting)
		know_content(request->mirror, &state, content);
	*error = size < 0 ? size : content ? 0 : -ENOMEM;
	return content;
}

/* What the file's reader has begun to read; at offset 0, or where he has begun nothing, he begins anew. */
static struct content *content_to_read(struct request *request, struct open_file *file, uint64_t offset, int *error)
{
	struct content *content = NULL, *former;

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
	file->content = content_share(content);
	pthread_mutex_unlock(&file->lock);
	if (former)
		content_put(former);
	return content;
}

void handle_control_read(struct request *request)
{
	const struct fuse_read_in *in = request->body;
	struct open_file *file = file_get(request->mirror, in->fh);
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
	if (in->offset >= content->size)
		reply(request, content->data, 0);
	else
		reply(request, content->data + in->offset,
		      content->size - in->offset < in->size ? content->size - in->offset : in->size);
	content_put(content);
}

void handle_control_write(struct request *request)
{
	const struct fuse_write_in *in = request->body;
	const struct fuse_write_out out = {.size = in->size};
	struct open_file *file = file_get(request->mirror, in->fh);
	int error = file && file->opener ? 0 : -EBADF;
	struct turn turn;

	if (!error && in->size != request->body_size - sizeof(*in))
		error = -EINVAL;
	if (!error) {
		error = ask(request, &turn)->write(context_of(request), request->header->nodeid, file->opener,
						   (uint32_t)file->opener_size, (const char *)(in + 1), in->size);
		answered(request, &turn);
	}
	if (file)
		file_put(file);
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

/* The kernel sends as many bytes as the command's number says. */
void handle_control_ioctl(struct request *request)
{
	const struct fuse_ioctl_in *in = request->body;
	const struct fuse_ioctl_out out = {};
	struct cgfs_caller caller = caller_of(request);
	struct open_file *file = file_get(request->mirror, in->fh);
	int error = file ? 0 : -EBADF;
	struct turn turn;

	if (!error && in->in_size != request->body_size - sizeof(*in))
		error = -ENOTTY;
	if (!error) {
		error = ask(request, &turn)->ioctl(context_of(request), request->header->nodeid, file->opener,
						   (uint32_t)file->opener_size, &caller, in->cmd, in + 1, in->in_size);
		answered(request, &turn);
	}
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

/* --- notifications ------------------------------------------------------------------------------------------------------ */

void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node)
{
	poller_control_changed(mirror, node);
	replay_add(mirror, REPLAY_MODIFIED, node, NULL, 0);
}
