/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for a change is woken, and asks again. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "test.h"

#define KERNEL_HANDLE 77

static uint32_t ask(struct connection *connection, uint64_t node, uint64_t file_handle, uint32_t flags)
{
	struct fuse_poll_in in = {.fh = file_handle, .kh = KERNEL_HANDLE, .flags = flags, .events = POLLPRI};
	const struct answer *answer = connection_ask(connection, FUSE_POLL, node, &in, sizeof(in), NULL, 0);

	CHECK(!answer->error && answer->size == sizeof(struct fuse_poll_out));
	return ((const struct fuse_poll_out *)answer->data)->revents;
}

static void wait_for_wake_up(const struct connection *connection)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_poll_wakeup_out body;
	} message;

	wait_readable(connection->kernel);
	CHECK(read(connection->kernel, &message, sizeof(message)) == sizeof(message));
	CHECK(!message.header.unique && message.header.error == FUSE_NOTIFY_POLL && message.body.kh == KERNEL_HANDLE);
}

/* READ, which goes to the relay's other end, and is not answered there. */
static void read_control(struct connection *connection, uint64_t node, uint64_t file_handle)
{
	struct fuse_read_in in = {.fh = file_handle, .size = 4096};
	char request[256];

	connection_send(connection, FUSE_READ, node, &in, sizeof(in), NULL, 0);
	wait_readable(cgfs_mirror_relay_fd(connection->mirror));
	CHECK(recv(cgfs_mirror_relay_fd(connection->mirror), request, sizeof(request), 0) > 0);
}

TEST(poll_of_a_control_file_reports_a_change_until_it_is_read)
{
	static const uint64_t node = NODE_CONTROL | FUSE_ROOT_ID;
	struct connection connection;

	connection_open(&connection);
	CHECK(ask(&connection, node, 5, 0) & POLLPRI);	/* nothing was read since it was opened */
	read_control(&connection, node, 5);
	CHECK(ask(&connection, node, 5, FUSE_POLL_SCHEDULE_NOTIFY) == (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM));
	cgfs_mirror_control_changed(connection.mirror, node ^ 1ull << 56);
	cgfs_mirror_control_changed(connection.mirror, node);
	wait_for_wake_up(&connection);
	CHECK(ask(&connection, node, 5, 0) & POLLPRI);
	CHECK(ask(&connection, node, 5, 0) & POLLPRI);
	read_control(&connection, node, 5);
	CHECK(!(ask(&connection, node, 5, 0) & POLLPRI));
	cgfs_mirror_control_changed(connection.mirror, node);	/* nobody waits */
	CHECK(!connection_has_answer(&connection));
	connection_close(&connection);
}

static void freeze(const struct connection *connection, const char *text)
{
	char path[600];
	FILE *file;

	snprintf(path, sizeof(path), "%s/cgroup.freeze", connection->source);
	file = fopen(path, "w");
	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

TEST(poll_of_an_open_file_of_ours_is_the_native_one)
{
	struct connection connection;
	struct fuse_open_in open_in = {};
	struct fuse_read_in read_in = {.size = 4096};
	uint64_t node;

	connection_open(&connection);
	node = connection_lookup(&connection, 1, "cgroup.events");
	read_in.fh = ((const struct fuse_open_out *)connection_ask(&connection, FUSE_OPEN, node, &open_in, sizeof(open_in),
								    NULL, 0)->data)->fh;
	CHECK(ask(&connection, node, read_in.fh, 0) & POLLPRI);
	CHECK(!connection_ask(&connection, FUSE_READ, node, &read_in, sizeof(read_in), NULL, 0)->error);
	CHECK(!(ask(&connection, node, read_in.fh, FUSE_POLL_SCHEDULE_NOTIFY) & POLLPRI));
	freeze(&connection, "1");
	wait_for_wake_up(&connection);
	CHECK(ask(&connection, node, read_in.fh, 0) & POLLPRI);
	CHECK(!connection_ask(&connection, FUSE_READ, node, &read_in, sizeof(read_in), NULL, 0)->error);
	CHECK(!(ask(&connection, node, read_in.fh, 0) & POLLPRI));
	connection_close(&connection);
}

TEST(poll_of_a_removed_cgroup_reports_a_change)
{
	struct connection connection;
	uint64_t node;
	char path[600];

	connection_open(&connection);
	snprintf(path, sizeof(path), "%s/child", connection.source);
	CHECK(mkdir(path, 0755) == 0);
	node = connection_lookup(&connection, connection_lookup(&connection, 1, "child"), "cgroup.events");
	CHECK(rmdir(path) == 0);
	CHECK(ask(&connection, node, HANDLE_OF_POLLER, FUSE_POLL_SCHEDULE_NOTIFY) & POLLPRI);
	CHECK(ask(&connection, node, HANDLE_OF_POLLER, FUSE_POLL_SCHEDULE_NOTIFY) & POLLPRI);
	connection_close(&connection);
}
