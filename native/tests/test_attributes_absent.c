// SPDX-License-Identifier: GPL-2.0-or-later
/* Extended attributes that a file was found not to have are not looked for again, until it may have them. */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "connection.h"
#include "mirror/files.h"
#include "mirror/watch.h"
#include "test.h"

#define NAME "user.note"

struct fixture {
	struct connection connection;
	char path[600];
	uint64_t node;
};

/* With what others do on cgroup2 being watched, and a directory that is asked about. */
static void fixture_open(struct fixture *f)
{
	connection_open(&f->connection);
	CHECK(watch_start(f->connection.mirror) == 0);
	snprintf(f->path, sizeof(f->path), "%s/asked", f->connection.source);
	CHECK(mkdir(f->path, 0755) == 0);
	f->node = connection_lookup(&f->connection, FUSE_ROOT_ID, "asked");
}

/* The length of the attribute, or -errno. */
static int length_of(struct fixture *f, const char *name)
{
	const struct fuse_getxattr_in in = {.size = 100};
	const struct answer *answer = connection_ask(&f->connection, FUSE_GETXATTR, f->node, &in, sizeof(in), name,
						     strlen(name) + 1);

	return answer->error ? answer->error : (int)answer->size;
}

/* Whether that is known without a look, when all that was done is counted. Elsewhere on cgroup2 others may do more. */
static bool is_known(struct fixture *f, const char *name)
{
	struct cgfs_mirror *mirror = f->connection.mirror;
	struct counts counts;
	bool known = false;

	for (int i = 0; i < 100 && !known; i++) {
		length_of(f, name);
		while (!watch_has_counted(mirror))
			watch_settle(mirror);
		known = absent_is_known(mirror, f->node, name, &counts);
	}
	return known;
}

TEST(absent_attribute_is_known_until_it_is_there)
{
	struct fixture f;

	fixture_open(&f);
	for (int i = 0; i < 50; i++) {
		CHECK(length_of(&f, NAME) == -ENODATA && is_known(&f, NAME) && length_of(&f, NAME) == -ENODATA);
		CHECK(setxattr(f.path, NAME, "x", 1, 0) == 0);
		CHECK(length_of(&f, NAME) == 1 && !is_known(&f, NAME) && length_of(&f, NAME) == 1);
		CHECK(removexattr(f.path, NAME) == 0);
	}
	CHECK(rmdir(f.path) == 0);
	connection_close(&f.connection);
}

TEST(absent_attribute_is_that_name_of_that_file_only)
{
	const char *const long_name = NAME ".that-is-longer-than-most";
	struct fixture f;

	fixture_open(&f);
	CHECK(is_known(&f, NAME));
	CHECK(setxattr(f.path, NAME "2", "xy", 2, 0) == 0);
	CHECK(is_known(&f, NAME) && length_of(&f, NAME "2") == 2);
	CHECK(length_of(&f, long_name) == -ENODATA && !is_known(&f, long_name));
	f.node = FUSE_ROOT_ID;
	CHECK(setxattr(f.connection.source, NAME, "xyz", 3, 0) == 0);
	CHECK(length_of(&f, NAME) == 3);
	CHECK(rmdir(f.path) == 0);
	connection_close(&f.connection);
}

/* Not one that a removed file has not: there is no such file. */
TEST(absent_attribute_of_a_removed_file_is_not_known)
{
	struct fixture f;
	int error;

	fixture_open(&f);
	CHECK(is_known(&f, NAME));
	CHECK(rmdir(f.path) == 0);
	error = length_of(&f, NAME);
	CHECK((error == -ESTALE || error == -ENOENT) && !is_known(&f, NAME));
	connection_close(&f.connection);
}
