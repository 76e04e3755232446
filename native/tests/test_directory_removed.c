/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Removed cgroups keep their attributes for those who have them open, and cost nothing when the kernel forgets them. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "connection.h"
#include "test.h"

static int count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Make a directory and remove it again. Returns its node id. */
static uint64_t make_and_remove(struct connection *connection)
{
	const struct fuse_mkdir_in in = { .mode = 0755 };
	const struct answer *answer;
	uint64_t node;

	answer = connection_ask(connection, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), "gone", sizeof("gone"));
	CHECK(answer->error == 0);
	node = answer->entry.nodeid;
	CHECK(connection_ask(connection, FUSE_RMDIR, FUSE_ROOT_ID, "gone", sizeof("gone"), NULL, 0)->error == 0);
	return node;
}

static int getattr_error(struct connection *connection, uint64_t node)
{
	const struct fuse_getattr_in in = {};

	return connection_ask(connection, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0)->error;
}

TEST(removed_directory_has_attributes_until_the_kernel_forgets_it)
{
	const struct fuse_setattr_in chmod = { .valid = FATTR_MODE, .mode = 0700 };
	const struct fuse_forget_in forget = { .nlookup = 1 };
	struct connection connection;
	const struct answer *answer;
	uint64_t node;

	connection_open(&connection);
	node = make_and_remove(&connection);
	CHECK(getattr_error(&connection, node) == 0);
	answer = connection_ask(&connection, FUSE_SETATTR, node, &chmod, sizeof(chmod), NULL, 0);
	CHECK(answer->error == 0 && answer->attr.attr.mode == (S_IFDIR | 0700));
	/* But nothing can be found in it, nor opened. */
	CHECK(connection_ask(&connection, FUSE_LOOKUP, node, "cgroup.procs", 13, NULL, 0)->error == -ESTALE);
	connection_send(&connection, FUSE_FORGET, node, &forget, sizeof(forget), NULL, 0);
	CHECK(getattr_error(&connection, node) == -ESTALE);
	connection_close(&connection);
}

TEST(removed_directories_are_forgotten_many_at_a_time)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} forget = { .in = { .count = 1000 } };		/* more than there are */
	struct connection connection;

	connection_open(&connection);
	for (int i = 0; i < 3; i++)
		forget.one[i] = (struct fuse_forget_one){ .nodeid = make_and_remove(&connection), .nlookup = 1 };
	connection_send(&connection, FUSE_BATCH_FORGET, 0, &forget, sizeof(forget), NULL, 0);
	for (int i = 0; i < 3; i++)
		CHECK(getattr_error(&connection, forget.one[i].nodeid) == -ESTALE);
	connection_close(&connection);
}

TEST(removed_directories_that_are_never_forgotten_cost_a_bounded_number_of_descriptors)
{
	struct connection connection;
	uint64_t first, last = 0;
	int before;

	connection_open(&connection);
	before = count_descriptors();
	first = make_and_remove(&connection);
	for (int i = 0; i < 200; i++)
		last = make_and_remove(&connection);
	CHECK(count_descriptors() <= before + 100);
	CHECK(getattr_error(&connection, first) == -ESTALE && getattr_error(&connection, last) == 0);
	connection_close(&connection);
}

TEST(removed_directories_of_one_user_are_not_given_up_for_those_of_another)
{
	struct connection connection;
	uint64_t theirs;

	connection_open(&connection);
	CHECK(chmod(connection.source, 0777) == 0);
	connection.uid = 1000;
	theirs = make_and_remove(&connection);
	connection.uid = 0;
	for (int i = 0; i < 200; i++)
		make_and_remove(&connection);
	CHECK(getattr_error(&connection, theirs) == 0);
	connection_close(&connection);
}

TEST(removed_file_that_is_open_has_attributes)
{
	const struct fuse_mkdir_in in = { .mode = 0755 };
	const struct fuse_open_in open = { .flags = 0 };
	struct fuse_release_in release = {};
	struct connection connection;
	uint64_t directory, file;

	connection_open(&connection);
	directory = connection_ask(&connection, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), "gone", 5)->entry.nodeid;
	file = connection_lookup(&connection, directory, "cgroup.procs");
	release.fh = ((const struct mirror_open_out *)connection_ask(&connection, FUSE_OPEN, file, &open, sizeof(open), NULL,
								      0)->data)->fh;
	CHECK(connection_ask(&connection, FUSE_RMDIR, FUSE_ROOT_ID, "gone", 5, NULL, 0)->error == 0);
	CHECK(getattr_error(&connection, file) == 0);
	CHECK(connection_ask(&connection, FUSE_OPEN, file, &open, sizeof(open), NULL, 0)->error == -ESTALE);
	CHECK(connection_ask(&connection, FUSE_RELEASE, file, &release, sizeof(release), NULL, 0)->error == 0);
	CHECK(getattr_error(&connection, file) == -ESTALE);
	connection_close(&connection);
}

TEST(removed_source_has_attributes_and_nothing_in_it)
{
	const struct fuse_read_in read_in = { .size = 4096 };
	const struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
	struct connection connection;

	connection_open(&connection);
	CHECK(rmdir(connection.source) == 0);
	CHECK(getattr_error(&connection, FUSE_ROOT_ID) == 0);
	CHECK(connection_ask(&connection, FUSE_LOOKUP, 1, "cgroup.procs", 13, NULL, 0)->error == -ENOENT);
	CHECK(connection_ask(&connection, FUSE_MKDIR, 1, &mkdir_in, sizeof(mkdir_in), "x", 2)->error == -ENOENT);
	CHECK(connection_ask(&connection, FUSE_READDIR, 1, &read_in, sizeof(read_in), NULL, 0)->error == -ENOENT);
	CHECK(mkdir(connection.source, 0755) == 0);
	connection_close(&connection);
}
