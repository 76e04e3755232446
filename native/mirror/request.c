/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request: the texts in it, and the answer; and other messages to the kernel. */
#include <string.h>
#include <sys/syscall.h>

#include "loop.h"

#define HEADER_SIZE sizeof(struct fuse_out_header)
_Static_assert(HEADER_SIZE <= REPLY_SIZE - MAX_IO, "room for the header before the data");
#define SMALL 256

/* --- the texts in it ---------------------------------------------------------------------------------------------------- */

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

/* --- messages to the kernel ---------------------------------------------------------------------------------------------- */

void *reply_buffer(const struct request *request)
{
	return request->worker->reply + HEADER_SIZE;
}

int send_message(int connection_fd, const struct iovec *parts, int n_parts)
{
	ssize_t written;

	do
		written = writev(connection_fd, parts, n_parts);
	while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}

/*
 * In one piece, since the kernel pins the pages of each. It may come too late, for a request that was aborted: there is
 * nobody to tell. Not by write(2): that is a cancellation point, which costs two atomic operations.
 */
static void send_reply(const struct request *request, const void *message, size_t size)
{
	while (syscall(SYS_write, request->mirror->fuse_fd, message, size) < 0 && errno == EINTR)
		;
}

void reply(const struct request *request, const void *data, size_t size)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(HEADER_SIZE + size),
		.unique = request->header->unique,
	};
	char small[SMALL] __attribute__((aligned(8)));
	char *message = small;

	if (size > SMALL - HEADER_SIZE || data == reply_buffer(request)) {
		message = request->worker->reply;
		if (data != message + HEADER_SIZE)
			memmove(message + HEADER_SIZE, data, size);
	} else if (size) {
		memcpy(message + HEADER_SIZE, data, size);
	}
	memcpy(message, &header, HEADER_SIZE);
	send_reply(request, message, header.len);
}

void reply_part(const struct request *request, const struct fuse_read_in *in, const char *content, size_t size)
{
	size_t offset = in->offset < size ? in->offset : size;
	size_t most = in->size < MAX_IO ? in->size : MAX_IO;

	reply(request, content + offset, size - offset < most ? size - offset : most);
}

void reply_error(const struct request *request, int error)
{
	struct fuse_out_header header = {
		.len = HEADER_SIZE,
		/* The kernel takes no others, and would wait for one that it takes. */
		.error = error > 0 || error <= -512 ? -EIO : error,
		.unique = request->header->unique,
	};

	send_reply(request, &header, HEADER_SIZE);
}
