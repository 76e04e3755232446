/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hands requests on control files to whoever holds the other end of a socket that speaks as /dev/fuse does, and the
 * replies, and any notifications, back to the kernel. The other end is greeted with an INIT of minor 13: a libfuse
 * there does without splice, which a socket cannot do.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The largest message: what libfuse reads into its smallest buffer. A larger write to a control file is E2BIG. */
#define MAX_PAYLOAD (128 * 1024)
#define MAX_MESSAGE (MAX_PAYLOAD + 4096)
/* Several messages of the largest size: a message that does not fit into an empty socket could never be sent. */
#define SOCKET_SIZE (4 * MAX_MESSAGE)
#define INIT_UNIQUE 1

struct relay {
	int ours, theirs;
	pthread_t thread;
	bool started;
};

static int greet(struct relay *relay)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in body;
	} init = {
		.header = {.len = sizeof(init), .opcode = FUSE_INIT, .unique = INIT_UNIQUE},
		.body = {
			.major = FUSE_KERNEL_VERSION,
			.minor = 13,
			.max_readahead = MAX_PAYLOAD,
			/* Without READDIRPLUS pyfuse3 takes the kernel for too old. */
			.flags = FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS,
		},
	};

	return send(relay->ours, &init, sizeof(init), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Returns false for what is no reply: it would be an error of the other end's, and is dropped. */
static bool is_message(const char *data, ssize_t size)
{
	const struct fuse_out_header *header = (const struct fuse_out_header *)data;

	return size >= (ssize_t)sizeof(*header) && header->len == size && header->unique != INIT_UNIQUE;
}

static void *relay_main(void *argument)
{
	const struct cgfs_mirror *mirror = argument;
	static const size_t room = MAX_IO + 4096;
	char *data = malloc(room);
	ssize_t size;

	if (!data) {
		/* Whoever waits for a reply would wait for ever. */
		shutdown(mirror->relay->ours, SHUT_RDWR);
		return NULL;
	}
	for (;;) {
		struct iovec part = {.iov_base = data};

		size = recv(mirror->relay->ours, data, room, 0);
		if (size == 0 || (size < 0 && errno != EINTR))
			break;
		if (!is_message(data, size))
			continue;
		part.iov_len = (size_t)size;
		send_message(mirror, &part, 1);
	}
	free(data);
	return NULL;
}

static int open_sockets(struct relay *relay)
{
	int size = SOCKET_SIZE;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	relay->ours = pair[0];
	relay->theirs = pair[1];
	for (int i = 0; i < 2; i++) {
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			return -errno;
	}
	return 0;
}

int relay_create(struct cgfs_mirror *mirror)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	int error;

	if (!relay)
		return -ENOMEM;
	relay->ours = relay->theirs = -1;
	mirror->relay = relay;
	error = open_sockets(relay);
	return error ? error : greet(relay);
}

int relay_start(struct cgfs_mirror *mirror)
{
	int error = pthread_create(&mirror->relay->thread, NULL, relay_main, mirror);

	mirror->relay->started = error == 0;
	return -error;
}

void relay_shut_down(struct cgfs_mirror *mirror)
{
	shutdown(mirror->relay->ours, SHUT_RDWR);
}

void relay_destroy(struct cgfs_mirror *mirror)
{
	struct relay *relay = mirror->relay;

	if (!relay)
		return;
	if (relay->ours >= 0)
		relay_shut_down(mirror);
	if (relay->started)
		pthread_join(relay->thread, NULL);
	close_fd(&relay->ours);
	close_fd(&relay->theirs);
	free(relay);
	mirror->relay = NULL;
}

int cgfs_mirror_relay_fd(const struct cgfs_mirror *mirror)
{
	return mirror->relay->theirs;
}

static int relay_send(struct request *request, int flags)
{
	const struct fuse_in_header *header = request->header;
	ssize_t sent;

	do
		sent = send(request->mirror->relay->ours, header, header->len, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

void handle_relayed(struct request *request)
{
	int error;

	if (request->header->len > MAX_MESSAGE) {
		reply_error(request, -E2BIG);
		return;
	}
	error = relay_send(request, MSG_DONTWAIT);
	if (error == -EAGAIN) {
		loop_may_block(request);
		error = relay_send(request, 0);
	}
	if (error)
		reply_error(request, error == -EPIPE ? -ENOTCONN : error);
}
