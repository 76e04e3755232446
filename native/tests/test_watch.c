/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is done on cgroup2 is told to the kernel, and in time; the fanotify events behind it are read as they come. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "connection.h"
#include "mirror/stale.h"
#include "mirror/watch.h"
#include "test.h"

/* A notification to the kernel. */
struct notification {
	struct fuse_out_header header;
	union {
		struct fuse_notify_inval_inode_out inode;
		struct {
			struct fuse_notify_inval_entry_out entry;
			char name[256];
		};
	};
};

static void receive(const struct connection *connection, struct notification *notification)
{
	ssize_t size;

	memset(notification, 0, sizeof(*notification));
	wait_readable(connection->kernel);
	size = read(connection->kernel, notification, sizeof(*notification));
	CHECK(size > (ssize_t)sizeof(notification->header) && size == notification->header.len);
	CHECK(!notification->header.unique);
}

/* Take notifications until the kernel has been told that it does not know the attributes of node. */
static void wait_for_node(const struct connection *connection, uint64_t node)
{
	struct notification notification;

	do
		receive(connection, &notification);
	while (notification.header.error != FUSE_NOTIFY_INVAL_INODE || notification.inode.ino != node);
}

/* Whether the name is to be asked for anew. None may be dropped instead. */
static bool is_about_name(const struct notification *notification, uint64_t directory, const char *name)
{
	CHECK(notification->header.error != FUSE_NOTIFY_DELETE);
	if (notification->header.error != FUSE_NOTIFY_INVAL_ENTRY)
		return false;
	CHECK(notification->entry.flags == FUSE_EXPIRE_ONLY);
	return notification->entry.parent == directory && strcmp(notification->name, name) == 0;
}

static void wait_for_name(const struct connection *connection, uint64_t directory, const char *name)
{
	struct notification notification;

	do
		receive(connection, &notification);
	while (!is_about_name(&notification, directory, name));
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int failed = fd < 0 || write(fd, text, strlen(text)) < 0;

	close(fd);
	return failed;
}

static int make(const char *path) { return mkdir(path, 0755); }
static int change_mode(const char *path) { return chmod(path, 0700); }
static int hide_pressure(const char *path) { return write_text(path, "0"); }

/* In another process: what this one does itself needs no telling. */
static void by_another(int (*act)(const char *path), const char *path)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		_exit(act(path) != 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

struct fixture {
	struct connection connection;
	char child[600], file[700];
	uint64_t node, procs;	/* of child, and of its cgroup.procs */
};

/*
 * A watched mirror of a cgroup with one child, and file in it. The rest of cgroup2 is watched as well: what others do
 * there is told, too.
 */
static void fixture_open(struct fixture *fixture, const char *file)
{
	connection_open(&fixture->connection);
	snprintf(fixture->child, sizeof(fixture->child), "%s/child", fixture->connection.source);
	snprintf(fixture->file, sizeof(fixture->file), "%s/%s", fixture->child, file);
	CHECK(mkdir(fixture->child, 0755) == 0);
	fixture->node = connection_lookup(&fixture->connection, 1, "child");
	fixture->procs = connection_lookup(&fixture->connection, fixture->node, "cgroup.procs");
	CHECK(watch_start(fixture->connection.mirror) == 0);
	CHECK(names_add(fixture->connection.mirror, "cpu.pressure"));
}

TEST(watch_tells_of_a_directory_made_by_others)
{
	struct fixture f;
	char path[700];

	fixture_open(&f, "");
	snprintf(path, sizeof(path), "%s/other", f.connection.source);
	by_another(make, path);
	wait_for_node(&f.connection, 1);
	connection_close(&f.connection);
}

TEST(watch_tells_of_a_directory_removed_by_others)
{
	struct fixture f;

	fixture_open(&f, "");
	by_another(rmdir, f.child);
	wait_for_name(&f.connection, 1, "child");
	connection_close(&f.connection);
}

TEST(watch_tells_of_modes_changed_by_others)
{
	struct fixture f;

	fixture_open(&f, "cgroup.procs");
	by_another(change_mode, f.file);
	wait_for_node(&f.connection, f.procs);
	by_another(change_mode, f.child);
	wait_for_node(&f.connection, f.node);
	connection_close(&f.connection);
}

TEST(watch_tells_of_files_that_the_kernel_hides)
{
	struct fixture f;

	fixture_open(&f, "cgroup.pressure");
	by_another(hide_pressure, f.file);
	wait_for_name(&f.connection, f.node, "cpu.pressure");
	connection_close(&f.connection);
}

static struct { int mount_fd; uint64_t id; } nameless;

static int hide_pressure_by_handle(const char *path)
{
	int fd = cgfs_open_by_kernfs_id(nameless.mount_fd, nameless.id, O_WRONLY);

	(void)path;
	return fd < 0 || write(fd, "0", 1) != 1;
}

/* Whether the kernel has no name for that file: its path is another then. */
static bool is_nameless(void)
{
	CLEANUP_FD int fd = cgfs_open_by_kernfs_id(nameless.mount_fd, nameless.id, O_PATH);
	char link[FD_PATH_SIZE], path[700];
	ssize_t length;

	CHECK(fd >= 0);
	fd_path(fd, link);
	length = readlink(link, path, sizeof(path));
	CHECK(length > 0);
	return length == 1;
}

/* The id of a file, from the listing: nobody has ever asked for it by its name then. */
static uint64_t listed_id(const char *directory, const char *name)
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	uint64_t id;

	CHECK(listing);
	do
		CHECK((entry = readdir(listing)));
	while (strcmp(entry->d_name, name) != 0);
	id = entry->d_ino;
	closedir(listing);
	return id;
}

/* As where memory was short: the kernel drops names that are used seldom, as cgroup2's own are, since the mirror's are used. */
TEST(watch_tells_of_hidden_files_where_the_kernel_has_no_name_of_what_hides_them)
{
	struct fixture f;

	fixture_open(&f, "cgroup.pressure");
	nameless.mount_fd = cgfs_mirror_mount_fd(f.connection.mirror);
	nameless.id = listed_id(f.child, "cgroup.pressure");
	CHECK(is_nameless());
	by_another(hide_pressure_by_handle, f.file);
	wait_for_name(&f.connection, f.node, "cpu.pressure");
	connection_close(&f.connection);
}

TEST(watch_has_told_of_hidden_files_when_it_has_settled)
{
	struct notification notification;
	struct fixture f;
	bool told = false;

	fixture_open(&f, "cgroup.pressure");
	CHECK(hide_pressure(f.file) == 0);
	watch_settle(f.connection.mirror);
	while (!told && connection_has_answer(&f.connection)) {
		receive(&f.connection, &notification);
		told = is_about_name(&notification, f.node, "cpu.pressure");
	}
	CHECK(told);
	connection_close(&f.connection);
}

/* What has been counted when all is. */
static uint64_t removals_of(struct cgfs_mirror *mirror)
{
	while (!watch_has_counted(mirror))
		watch_settle(mirror);
	return watch_removals(mirror);
}

static int make_and_remove(const char *path) { return mkdir(path, 0755) || rmdir(path); }
static int hide_pressure_and_show_it(const char *path) { return write_text(path, "0") || write_text(path, "1"); }
static int disable_nothing(const char *path) { return write_text(path, "\n"); }

/* At once: in the very moment in which the removal is done it is counted, or known not to be. */
static void check_counted(struct cgfs_mirror *mirror, int (*act)(const char *path), const char *path)
{
	for (int i = 0; i < 100; i++) {
		uint64_t before = removals_of(mirror);

		by_another(act, path);
		CHECK(!watch_has_counted(mirror) || watch_removals(mirror) > before);
		CHECK(removals_of(mirror) > before);
	}
}

TEST(watch_counts_what_takes_files_away)
{
	struct fixture f;
	char path[700];

	fixture_open(&f, "cgroup.pressure");
	check_counted(f.connection.mirror, hide_pressure_and_show_it, f.file);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", f.child);
	check_counted(f.connection.mirror, disable_nothing, path);
	snprintf(path, sizeof(path), "%s/removed", f.child);
	check_counted(f.connection.mirror, make_and_remove, path);
	connection_close(&f.connection);
}

/* But for what happens elsewhere on cgroup2, and so not each time. */
TEST(watch_counts_nothing_else_as_a_removal)
{
	struct fixture f;
	bool same = false;

	fixture_open(&f, "cgroup.procs");
	for (int i = 0; i < 100 && !same; i++) {
		uint64_t before = removals_of(f.connection.mirror);

		by_another(change_mode, f.child);
		by_another(change_mode, f.file);
		same = removals_of(f.connection.mirror) == before;
	}
	CHECK(same);
	connection_close(&f.connection);
}

TEST(stale_tells_of_a_node_once_in_a_round)
{
	static struct stale_round round;
	struct connection connection;
	struct stale_item made = {.what = STALE_CREATED, .node = 1}, changed = {.what = STALE_NODE, .node = 1};

	connection_open(&connection);
	for (round.number = 1; round.number < 3; round.number++) {
		stale_inval(connection.mirror, &round, &made);
		CHECK(connection_has_answer(&connection));
		wait_for_node(&connection, 1);
		stale_inval(connection.mirror, &round, &made);
		stale_inval(connection.mirror, &round, &changed);
		CHECK(!connection_has_answer(&connection));
		CHECK(made.known && changed.known);
	}
	connection_close(&connection);
}

TEST(watch_tells_nothing_of_what_the_mirror_does_itself)
{
	struct notification notification;
	struct fixture f;

	fixture_open(&f, "cgroup.procs");
	CHECK(change_mode(f.file) == 0 && rmdir(f.child) == 0 && mkdir(f.child, 0755) == 0);
	watch_settle(f.connection.mirror);
	while (connection_has_answer(&f.connection)) {
		receive(&f.connection, &notification);
		CHECK(notification.inode.ino != 1 && notification.inode.ino != f.node &&
		      notification.inode.ino != f.procs);
	}
	connection_close(&f.connection);
}

static bool is_known(const struct cgfs_mirror *mirror, const char *wanted)
{
	const char *name;

	for (size_t i = 0; names_next(mirror, &i, &name);) {
		if (strcmp(name, wanted) == 0)
			return true;
	}
	return false;
}

TEST(names_are_known_when_they_were_seen_and_no_more_taken_than_there_is_room_for)
{
	struct fixture f;
	struct cgfs_mirror *mirror;
	char name[32];
	int taken = 0;

	fixture_open(&f, "");
	mirror = f.connection.mirror;
	CHECK(!is_known(mirror, "memory.max"));
	CHECK(names_add(mirror, "memory.max") && is_known(mirror, "memory.max"));
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "memory.%d", i);
		if (!names_add(mirror, name))
			CHECK(!is_known(mirror, name));
		else if (++taken)
			CHECK(is_known(mirror, name));
	}
	CHECK(taken > 1000 && taken < 5000);
	CHECK(names_add(mirror, "memory.max"));
	connection_close(&f.connection);
}

TEST(watch_reads_no_event_past_the_end)
{
	struct fanotify_event_metadata whole = {.event_len = sizeof(whole) + 4, .metadata_len = sizeof(whole)}, metadata;
	char buffer[4 + sizeof(whole) + 4];
	size_t at = 4;

	memcpy(buffer + 4, &whole, sizeof(whole));
	CHECK(next_event(buffer, sizeof(buffer), &at, &metadata) == buffer + 4 + sizeof(whole));
	CHECK(at == sizeof(buffer) && metadata.event_len == whole.event_len);
	CHECK(!next_event(buffer, sizeof(buffer), &at, &metadata));
	at = 4;
	CHECK(!next_event(buffer, sizeof(buffer) - 1, &at, &metadata) && at == 4);
	whole.event_len = sizeof(whole) - 1;
	memcpy(buffer + 4, &whole, sizeof(whole));
	CHECK(!next_event(buffer, sizeof(buffer), &at, &metadata));
}

/* Of a directory in which five are made. */
TEST(watch_knows_how_many_events_there_are)
{
	int fan_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET, O_RDONLY);
	struct fanotify_event_metadata metadata;
	char buffer[4096], path[700];
	struct fixture f;
	size_t n = 0, at = 0;
	ssize_t size;

	fixture_open(&f, "");
	CHECK(fan_fd >= 0 && events_in_queue(fan_fd) == 0);
	CHECK(fanotify_mark(fan_fd, FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR, AT_FDCWD, f.child) == 0);
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%d", f.child, i);
		CHECK(mkdir(path, 0755) == 0);
	}
	CHECK(events_in_queue(fan_fd) == 5);
	size = read(fan_fd, buffer, sizeof(buffer));
	while (size > 0 && next_event(buffer, (size_t)size, &at, &metadata))
		n++;
	CHECK(n == 5 && events_in_queue(fan_fd) == 0);
	close(fan_fd);
	connection_close(&f.connection);
}

TEST(watch_takes_for_known_what_the_kernel_could_not_be_told)
{
	struct fixture f;
	int notify_fd;

	fixture_open(&f, "");
	notify_fd = f.connection.mirror->notify_fd;
	f.connection.mirror->notify_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	CHECK(f.connection.mirror->notify_fd >= 0 && inval_attributes(f.connection.mirror, f.node));
	close(f.connection.mirror->notify_fd);
	f.connection.mirror->notify_fd = notify_fd;
	connection_close(&f.connection);
}
