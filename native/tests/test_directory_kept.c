/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory that was open last is kept, and found to be gone as soon as it is. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "connection.h"
#include "mirror/monotonic.h"
#include "mirror/watch.h"
#include "test.h"

/* How often this process has that directory open, removed or not. No other file is numbered so, but by chance. */
static int count_open(uint64_t node)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	struct stat st;
	int count = 0;

	CHECK(fds);
	while ((entry = readdir(fds))) {
		if (fstat(atoi(entry->d_name), &st) == 0 && S_ISDIR(st.st_mode))
			count += st.st_ino == node;
	}
	closedir(fds);
	return count;
}

static void wait_until_closed(uint64_t node)
{
	struct timespec until = after_ms(30000);

	while (count_open(node)) {
		CHECK(!is_past(&until));
		poll(NULL, 0, 1);
	}
}

static int lookup_error(struct connection *connection, uint64_t directory, const char *name)
{
	return connection_ask(connection, FUSE_LOOKUP, directory, name, strlen(name) + 1, NULL, 0)->error;
}

TEST(kept_directory_is_one)
{
	struct connection connection;
	char one[600], other[600];
	uint64_t one_node, other_node;

	connection_open(&connection);
	snprintf(one, sizeof(one), "%s/one", connection.source);
	snprintf(other, sizeof(other), "%s/other", connection.source);
	CHECK(mkdir(one, 0755) == 0 && mkdir(other, 0755) == 0);
	one_node = connection_lookup(&connection, FUSE_ROOT_ID, "one");
	other_node = connection_lookup(&connection, FUSE_ROOT_ID, "other");
	CHECK(lookup_error(&connection, one_node, "cgroup.procs") == 0);
	CHECK(lookup_error(&connection, one_node, "cgroup.events") == 0);
	CHECK(lookup_error(&connection, one_node, "missing") == -ENOENT);
	CHECK(count_open(one_node) == 1);
	CHECK(lookup_error(&connection, other_node, "cgroup.procs") == 0);
	CHECK(count_open(one_node) == 0 && count_open(other_node) == 1);
	CHECK(rmdir(one) == 0 && rmdir(other) == 0);
	connection_close(&connection);
}

/* On cgroup2, too, a lookup opens nothing, and whoever watches sees nothing. */
TEST(kept_directory_is_not_opened_for_reading_where_a_name_is_looked_up)
{
	struct connection connection;
	struct pollfd watch = {.fd = inotify_init1(IN_CLOEXEC), .events = POLLIN};
	const struct fuse_read_in read = {.size = 4096};
	char child[600];

	connection_open(&connection);
	snprintf(child, sizeof(child), "%s/child", connection.source);
	CHECK(mkdir(child, 0755) == 0);
	CHECK(inotify_add_watch(watch.fd, connection.source, IN_OPEN) >= 0);
	CHECK(lookup_error(&connection, FUSE_ROOT_ID, "child") == 0);
	CHECK(poll(&watch, 1, 0) == 0);
	CHECK(connection_ask(&connection, FUSE_READDIR, FUSE_ROOT_ID, &read, sizeof(read), NULL, 0)->error == 0);
	CHECK(poll(&watch, 1, 0) == 1);
	CHECK(rmdir(child) == 0);
	close(watch.fd);
	connection_close(&connection);
}

/* With what others do on cgroup2 being watched, and a directory that is asked about. */
static void open_watched(struct connection *connection, char path[600])
{
	connection_open(connection);
	CHECK(watch_start(connection->mirror) == 0);
	snprintf(path, 600, "%s/again", connection->source);
}

TEST(kept_directory_that_was_removed_is_gone)
{
	struct connection connection;
	char path[600], child[700];
	uint64_t node;
	int error;

	open_watched(&connection, path);
	snprintf(child, sizeof(child), "%s/child", path);
	for (int i = 0; i < 50; i++) {
		CHECK(mkdir(path, 0755) == 0 && mkdir(child, 0755) == 0);
		node = connection_lookup(&connection, FUSE_ROOT_ID, "again");
		CHECK(lookup_error(&connection, node, "child") == 0);
		CHECK(rmdir(child) == 0 && rmdir(path) == 0);
		/* What is there by its name is another one. */
		CHECK(mkdir(path, 0755) == 0 && mkdir(child, 0755) == 0);
		error = lookup_error(&connection, node, "child");
		CHECK(error == -ESTALE || error == -ENOENT);	/* at first; once the removal is known */
		CHECK(rmdir(child) == 0 && rmdir(path) == 0);
	}
	connection_close(&connection);
}

TEST(kept_directory_is_closed_when_it_is_removed)
{
	struct connection connection;
	char path[600];

	open_watched(&connection, path);
	for (int i = 0; i < 50; i++) {
		uint64_t node;

		CHECK(mkdir(path, 0755) == 0);
		node = connection_lookup(&connection, FUSE_ROOT_ID, "again");
		CHECK(lookup_error(&connection, node, "cgroup.procs") == 0 && count_open(node) <= 1);
		CHECK(rmdir(path) == 0);
		/* Asked for while that becomes known, by somebody who does not mind that it is gone. */
		for (int asked = 0; asked < i; asked++)
			lookup_error(&connection, node, control_names[0]);
		wait_until_closed(node);
	}
	connection_close(&connection);
}
