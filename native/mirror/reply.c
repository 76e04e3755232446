/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replies and notifications: messages to the kernel. */
#include "loop.h"

void *reply_buffer(const struct request *request)
{
	return request->worker->reply;
}

int send_message(const struct cgfs_mirror *mirror, const struct iovec *parts, int n_parts)
{
	ssize_t written;

	do
		written = writev(mirror->fuse_fd, parts, n_parts);
	while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}

/* The answer may come too late, for a request that was aborted: there is nobody to tell. */
void reply(const struct request *request, const void *data, size_t size)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + size),
		.unique = request->header->unique,
	};
	struct iovec parts[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = size},
	};

	send_message(request->mirror, parts, size ? 2 : 1);
}

void reply_error(const struct request *request, int error)
{
	struct fuse_out_header header = {
		.len = sizeof(header),
		/* The kernel takes no others, and would wait for one that it takes. */
		.error = error > 0 || error <= -512 ? -EIO : error,
		.unique = request->header->unique,
	};
	struct iovec part = {.iov_base = &header, .iov_len = sizeof(header)};

	send_message(request->mirror, &part, 1);
}
