/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for a change is woken, and asks again. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "connection.h"
#include "mirror/files.h"
#include "test.h"

#define KERNEL_HANDLE 77

static uint32_t ask_for(struct connection *connection, uint64_t kernel_handle, uint64_t node, uint64_t file_handle,
			uint32_t flags)
{
	struct fuse_poll_in in = {.fh = file_handle, .kh = kernel_handle, .flags = flags, .events = POLLPRI};
	const struct answer *answer = connection_ask(connection, FUSE_POLL, node, &in, sizeof(in), NULL, 0);

	CHECK(!answer->error && answer->size == sizeof(struct fuse_poll_out));
	return ((const struct fuse_poll_out *)answer->data)->revents;
}

static uint32_t ask(struct connection *connection, uint64_t node, uint64_t file_handle, uint32_t flags)
{
	return ask_for(connection, KERNEL_HANDLE, node, file_handle, flags);
}

/* The kernel handle of whoever is woken next. */
static uint64_t next_wake_up(const struct connection *connection)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_poll_wakeup_out body;
	} message;

	wait_readable(connection->kernel);
	CHECK(read(connection->kernel, &message, sizeof(message)) == sizeof(message));
	CHECK(!message.header.unique && message.header.error == FUSE_NOTIFY_POLL);
	return message.body.kh;
}

static void wait_for_wake_up(const struct connection *connection)
{
	CHECK(next_wake_up(connection) == KERNEL_HANDLE);
}

static void read_control(struct connection *connection, uint64_t node, uint64_t file_handle)
{
	struct fuse_read_in in = {.fh = file_handle, .size = 4096};

	CHECK(!connection_ask(connection, FUSE_READ, node, &in, sizeof(in), NULL, 0)->error);
}

TEST(poll_of_a_control_file_reports_a_change_until_it_is_read)
{
	static const uint64_t node = CONTROL(0);
	struct connection connection;
	uint64_t handle;

	connection_open(&connection);
	handle = connection_open_file(&connection, node, O_RDONLY);
	CHECK(ask(&connection, node, handle, 0) & POLLPRI);	/* nothing was read since it was opened */
	read_control(&connection, node, handle);
	CHECK(ask(&connection, node, handle, FUSE_POLL_SCHEDULE_NOTIFY) == (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM));
	cgfs_mirror_control_changed(connection.mirror, node ^ 1ull << 56);
	cgfs_mirror_control_changed(connection.mirror, node);
	wait_for_wake_up(&connection);
	CHECK(ask(&connection, node, handle, 0) & POLLPRI);
	CHECK(ask(&connection, node, handle, 0) & POLLPRI);
	read_control(&connection, node, handle);
	CHECK(!(ask(&connection, node, handle, 0) & POLLPRI));
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
	struct fuse_read_in read_in = {.size = 4096};
	uint64_t node;

	connection_open(&connection);
	node = connection_lookup(&connection, 1, "cgroup.events");
	read_in.fh = connection_open_file(&connection, node, O_RDONLY);
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

TEST(poll_of_an_open_file_of_ours_wakes_who_has_had_his_share_of_descriptors)
{
	struct fuse_read_in read_in = {.size = 4096};
	struct connection connection;
	unsigned int taken = 0;
	uint64_t node;

	connection_open(&connection);
	node = connection_lookup(&connection, 1, "cgroup.events");
	read_in.fh = connection_open_file(&connection, node, O_RDONLY);
	CHECK(!connection_ask(&connection, FUSE_READ, node, &read_in, sizeof(read_in), NULL, 0)->error);
	while (descriptors_take(connection.mirror, connection.uid, 1))
		taken++;
	CHECK(!(ask(&connection, node, read_in.fh, FUSE_POLL_SCHEDULE_NOTIFY) & POLLPRI));
	freeze(&connection, "1");
	wait_for_wake_up(&connection);
	descriptors_give(connection.mirror, connection.uid, taken);
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

#define MANY 3000	/* more than there are buckets */

TEST(poll_of_many_files_wakes_those_whose_file_has_changed)
{
	static const uint64_t node = CONTROL(0), other = CONTROL(1);
	static bool woken[MANY];
	struct connection connection;

	connection_open(&connection);
	for (uint64_t i = 0; i < MANY; i++)
		ask_for(&connection, i, i % 2 ? other : node, i, FUSE_POLL_SCHEDULE_NOTIFY);
	for (uint64_t i = 0; i < MANY; i += 3)
		poller_forget(connection.mirror, i % 2 ? other : node, i);
	poller_forget(connection.mirror, other, 2);	/* that handle is another file's */
	cgfs_mirror_control_changed(connection.mirror, node);
	while (connection_has_answer(&connection))
		woken[next_wake_up(&connection)] = true;
	for (uint64_t i = 0; i < MANY; i++)
		CHECK(woken[i] == (i % 2 == 0 && i % 3 != 0));
	connection_close(&connection);
}

/* Open the connection's cgroup.events, and wait for a change of it as that kernel handle. */
static void open_and_wait(struct connection *connection, uint64_t kernel_handle)
{
	struct fuse_read_in read_in = {.size = 4096};
	uint64_t node = connection_lookup(connection, 1, "cgroup.events");

	read_in.fh = connection_open_file(connection, node, O_RDONLY);
	CHECK(!connection_ask(connection, FUSE_READ, node, &read_in, sizeof(read_in), NULL, 0)->error);
	CHECK(!(ask_for(connection, kernel_handle, node, read_in.fh, FUSE_POLL_SCHEDULE_NOTIFY) & POLLPRI));
}

static struct rlimit limit_descriptors(rlim_t most)
{
	struct rlimit before, limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	limit = before;
	limit.rlim_cur = most;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	return before;
}

TEST(poll_of_more_control_files_than_the_process_may_have_descriptors_holds_up_nobody)
{
	struct connection connection;
	struct rlimit before = limit_descriptors(256);

	connection_open(&connection);
	open_and_wait(&connection, KERNEL_HANDLE);
	for (uint64_t i = 1000; i < 2000; i++)
		ask_for(&connection, i, NODE_CONTROL | FUSE_ROOT_ID, i, FUSE_POLL_SCHEDULE_NOTIFY);
	freeze(&connection, "1");
	wait_for_wake_up(&connection);
	connection_close(&connection);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST(poll_of_more_files_than_the_process_may_have_descriptors_still_sees_changes)
{
	struct connection connection;
	struct rlimit before;
	bool woken[20] = {};
	char path[600];
	int file;

	connection_open(&connection);
	for (uint64_t i = 0; i < 20; i++)
		open_and_wait(&connection, i);
	snprintf(path, sizeof(path), "%s/cgroup.freeze", connection.source);
	file = open(path, O_WRONLY | O_CLOEXEC);
	before = limit_descriptors(10);
	ask_for(&connection, 20, NODE_CONTROL | FUSE_ROOT_ID, 20, FUSE_POLL_SCHEDULE_NOTIFY);	/* begins anew */
	CHECK(write(file, "1", 1) == 1 && close(file) == 0);
	for (int i = 0; i < 20; i++)
		woken[next_wake_up(&connection)] = true;
	for (int i = 0; i < 20; i++)
		CHECK(woken[i]);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	connection_close(&connection);
}
