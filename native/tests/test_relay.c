/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes to whoever answers for the control files: requests over the relay, ioctls over the queue. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "test.h"

#define CONTROL (NODE_CONTROL | 1ull << 56 | FUSE_ROOT_ID)
#define MESSAGE_SIZE (256 * 1024)

struct message {
	struct fuse_in_header header;
	char body[MESSAGE_SIZE];
};

static const struct message *relay_receive(struct connection *connection)
{
	static struct message message;
	int fd = cgfs_mirror_relay_fd(connection->mirror);
	ssize_t size;

	wait_readable(fd);
	size = recv(fd, &message, sizeof(message), 0);
	CHECK(size >= (ssize_t)sizeof(message.header) && message.header.len == size);
	return &message;
}

static void relay_answer(struct connection *connection, uint64_t unique, int error)
{
	struct fuse_out_header header = { .len = sizeof(header), .error = error, .unique = unique };

	CHECK(send(cgfs_mirror_relay_fd(connection->mirror), &header, sizeof(header), 0) == sizeof(header));
}

static uint64_t send_write(struct connection *connection, uint32_t size)
{
	static char data[MESSAGE_SIZE];
	struct fuse_write_in in = { .size = size };

	return connection_send(connection, FUSE_WRITE, CONTROL, &in, sizeof(in), data, size);
}

TEST(relay_greets_as_dev_fuse_does)
{
	struct connection connection;
	const struct message *message;
	const struct fuse_init_in *in;

	connection_create(&connection);
	message = relay_receive(&connection);
	in = (const struct fuse_init_in *)message->body;
	CHECK(message->header.opcode == FUSE_INIT && in->major == 7 && in->minor == 13);
	CHECK(relay_start(connection.mirror) == 0 && loop_start(connection.mirror) == 0);
	relay_answer(&connection, message->header.unique, 0);
	/* The answer to the greeting stays here; what comes after it goes to the kernel. */
	relay_answer(&connection, 99, -EBUSY);
	CHECK(connection_receive(&connection)->unique == 99);
	connection_close(&connection);
}

TEST(relay_carries_requests_on_control_files_and_their_answers)
{
	struct connection connection;
	const struct message *message;
	uint64_t unique;

	connection_open(&connection);
	unique = connection_send(&connection, FUSE_LOOKUP, FUSE_ROOT_ID, control_names[1], strlen(control_names[1]) + 1,
				 NULL, 0);
	message = relay_receive(&connection);
	CHECK(message->header.opcode == FUSE_LOOKUP && message->header.unique == unique);
	CHECK(message->header.nodeid == FUSE_ROOT_ID && strcmp(message->body, control_names[1]) == 0);
	relay_answer(&connection, unique, -EACCES);
	CHECK(connection_receive(&connection)->error == -EACCES);

	unique = send_write(&connection, 128 * 1024);
	CHECK(relay_receive(&connection)->header.unique == unique);
	unique = send_write(&connection, 136 * 1024);
	CHECK(connection_receive(&connection)->error == -E2BIG);
	connection_close(&connection);
}

TEST(relay_that_is_full_holds_up_nobody_else)
{
	enum { TOO_MANY = 100 };
	const struct fuse_getattr_in in = {};
	struct connection connection;
	uint64_t sum = 0;

	connection_open(&connection);
	for (int i = 0; i < TOO_MANY; i++)
		sum += send_write(&connection, 64 * 1024);
	CHECK(connection_ask(&connection, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0)->error == 0);
	for (int i = 0; i < TOO_MANY; i++)
		sum -= relay_receive(&connection)->header.unique;
	CHECK(sum == 0);
	connection_close(&connection);
}

TEST(relay_that_is_full_at_the_end_lets_everybody_go)
{
	struct connection connection;

	connection_open(&connection);
	for (int i = 0; i < 100; i++)
		send_write(&connection, 64 * 1024);
	connection_close(&connection);
}

TEST(relay_drops_what_is_no_reply)
{
	struct connection connection;
	struct fuse_out_header lying = { .len = 1000, .unique = 7 };
	int fd;

	connection_open(&connection);
	fd = cgfs_mirror_relay_fd(connection.mirror);
	CHECK(send(fd, "short", 5, 0) == 5);
	CHECK(send(fd, &lying, sizeof(lying), 0) == sizeof(lying));
	relay_answer(&connection, 8, 0);
	CHECK(connection_receive(&connection)->unique == 8);
	connection_close(&connection);
}

/* --- ioctls -------------------------------------------------------------------------------------------------------------- */

static uint64_t send_ioctl(struct connection *connection, uint32_t command, const void *data, uint32_t size)
{
	struct fuse_ioctl_in in = { .fh = 5, .cmd = command, .in_size = size };

	return connection_send(connection, FUSE_IOCTL, CONTROL, &in, sizeof(in), data, size);
}

static bool queue_is_readable(struct connection *connection)
{
	struct pollfd poll_fd = { .fd = cgfs_mirror_ioctl_fd(connection->mirror), .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static struct cgfs_control_ioctl next_ioctl(struct connection *connection)
{
	struct cgfs_control_ioctl ioctl;

	wait_readable(cgfs_mirror_ioctl_fd(connection->mirror));
	CHECK(cgfs_mirror_next_ioctl(connection->mirror, &ioctl) == 0);
	return ioctl;
}

TEST(ioctls_are_taken_in_order_and_answered)
{
	struct connection connection;
	struct cgfs_control_ioctl ioctl;
	uint64_t first, second;

	connection_open(&connection);
	CHECK(cgfs_mirror_next_ioctl(connection.mirror, &ioctl) == -EAGAIN && !queue_is_readable(&connection));
	first = send_ioctl(&connection, 0x1234, "data", 4);
	second = send_ioctl(&connection, 0x5678, NULL, 0);
	ioctl = next_ioctl(&connection);
	CHECK(ioctl.unique == first && ioctl.command == 0x1234 && ioctl.node == CONTROL && ioctl.file_handle == 5);
	CHECK(ioctl.size == 4 && memcmp(ioctl.data, "data", 4) == 0 && ioctl.tid == (uint32_t)getpid());
	ioctl = next_ioctl(&connection);
	CHECK(ioctl.unique == second && ioctl.size == 0 && !queue_is_readable(&connection));
	CHECK(cgfs_mirror_answer_ioctl(connection.mirror, second, ENOTTY) == 0);
	CHECK(connection_receive(&connection)->error == -ENOTTY);
	CHECK(cgfs_mirror_answer_ioctl(connection.mirror, first, 0) == 0);
	CHECK(connection_receive(&connection)->size == sizeof(struct fuse_ioctl_out));
	connection_close(&connection);
}

TEST(ioctls_that_are_no_command_of_ours_are_refused_at_once)
{
	struct fuse_ioctl_in lying = { .in_size = 100 };
	struct connection connection;
	char data[300] = {};

	connection_open(&connection);
	send_ioctl(&connection, 1, data, sizeof(data));
	CHECK(connection_receive(&connection)->error == -ENOTTY);
	CHECK(connection_ask(&connection, FUSE_IOCTL, CONTROL, &lying, sizeof(lying), data, 50)->error == -ENOTTY);
	CHECK(connection_ask(&connection, FUSE_IOCTL, FUSE_ROOT_ID, &lying, sizeof(lying), data, 100)->error == -ENOTTY);
	connection_close(&connection);
}

TEST(ioctls_that_wait_can_be_interrupted)
{
	struct fuse_interrupt_in in = {};
	struct connection connection;
	uint64_t kept;

	connection_open(&connection);
	kept = send_ioctl(&connection, 1, NULL, 0);
	in.unique = send_ioctl(&connection, 2, NULL, 0);
	connection_send(&connection, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
	CHECK(connection_receive(&connection)->error == -EINTR);
	CHECK(next_ioctl(&connection).unique == kept && !queue_is_readable(&connection));
	/* The place behind a removed last one is where the next one goes. */
	in.unique = send_ioctl(&connection, 3, NULL, 0);
	CHECK(next_ioctl(&connection).unique == in.unique);
	connection_close(&connection);
}

TEST(ioctls_end_with_the_connection)
{
	struct connection connection;
	struct cgfs_control_ioctl ioctl;

	connection_open(&connection);
	send_ioctl(&connection, 1, NULL, 0);
	wait_readable(cgfs_mirror_ioctl_fd(connection.mirror));
	CHECK(shutdown(connection.kernel, SHUT_RDWR) == 0);
	loop_wait_for_end(connection.mirror);
	while (cgfs_mirror_next_ioctl(connection.mirror, &ioctl) != -ENODEV)
		;
	CHECK(queue_is_readable(&connection));
	connection_close(&connection);
}
