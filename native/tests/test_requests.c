/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests as the kernel sends them, and as it never should: each is answered, once, and takes nothing down. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "test.h"

static int lookup_error(struct connection *connection, const char *name, size_t size)
{
	return connection_ask(connection, FUSE_LOOKUP, FUSE_ROOT_ID, name, size, NULL, 0)->error;
}

TEST(requests_with_names_that_are_none_are_invalid)
{
	struct connection connection;
	char name[PATH_MAX];

	connection_open(&connection);
	CHECK(lookup_error(&connection, "cgroup.procs", sizeof("cgroup.procs")) == 0);
	CHECK(lookup_error(&connection, "", 0) == -EINVAL);
	CHECK(lookup_error(&connection, "", 1) == -EINVAL);
	CHECK(lookup_error(&connection, ".", 2) == -EINVAL);
	CHECK(lookup_error(&connection, "..", 3) == -EINVAL);
	CHECK(lookup_error(&connection, "../x", 5) == -EINVAL);
	CHECK(lookup_error(&connection, "/etc", 5) == -EINVAL);
	CHECK(lookup_error(&connection, "cgroup.procs", strlen("cgroup.procs")) == -EINVAL);
	CHECK(lookup_error(&connection, "cgroup.procs\0x", sizeof("cgroup.procs\0x")) == -EINVAL);
	CHECK(lookup_error(&connection, "nothing", sizeof("nothing")) == -ENOENT);
	memset(name, 'n', sizeof(name));
	name[PATH_MAX - 1] = 0;
	CHECK(lookup_error(&connection, name, PATH_MAX) == -ENOENT);
	connection_close(&connection);
}

TEST(requests_on_nodes_that_are_not_ours_find_nothing)
{
	const uint64_t strangers[] = { 0, 1ull << 55, (1ull << 56) - 1, CONTROL(2), CONTROL(126), ~0ull };
	struct fuse_getattr_in in = {};
	struct connection connection;

	connection_open(&connection);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		CHECK(connection_ask(&connection, FUSE_GETATTR, strangers[i], &in, sizeof(in), NULL, 0)->error == -ESTALE);
	CHECK(connection_ask(&connection, FUSE_LOOKUP, CONTROL(0), "x", 2, NULL, 0)->error == -ENOTDIR);
	connection_close(&connection);
}

TEST(requests_that_contradict_themselves_are_refused)
{
	struct fuse_in_header header = { .len = sizeof(header) + 8, .opcode = FUSE_STATFS, .unique = 2, .nodeid = 1 };
	struct connection connection;

	connection_open(&connection);
	connection_send_raw(&connection, &header, 7);	/* not even a header: nobody can be answered */
	connection_send_raw(&connection, &header, sizeof(header));
	CHECK(connection_receive(&connection)->error == -EIO);
	header.len = sizeof(header);
	header.total_extlen = 1;
	connection_send_raw(&connection, &header, sizeof(header));
	CHECK(connection_receive(&connection)->error == -EIO);
	header.total_extlen = 0;
	connection_send_raw(&connection, &header, sizeof(header));
	CHECK(connection_receive(&connection)->error == 0);
	connection_close(&connection);
}

static bool is_answered(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

/* What comes before is about a message that has no answer, and was too short to be one. */
static void send_and_wait(struct connection *connection, uint32_t opcode, uint64_t node, const void *body, size_t size)
{
	uint64_t unique = connection_send(connection, opcode, node, body, size, NULL, 0);

	while (is_answered(opcode) && connection_receive(connection)->unique != unique)
		;
}

TEST(requests_of_any_length_and_content_are_answered)
{
	static const uint64_t nodes[] = { CONTROL(0), FUSE_ROOT_ID, 1ull << 50 };
	struct connection connection;
	uint32_t body[256 / 4];

	srandom(1);
	connection_open(&connection);
	for (uint32_t opcode = 0; opcode < 64; opcode++) {
		for (size_t size = 0; size <= sizeof(body); size = size < 48 ? size + 1 : size + 13) {
			for (size_t i = 0; i < sizeof(body) / 4; i++)
				body[i] = (uint32_t)random() & ((uint32_t)random() | 0xff);
			for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
				send_and_wait(&connection, opcode, nodes[i], body, size);
		}
	}
	connection_close(&connection);
}

TEST(requests_that_cgroup2_refuses_are_refused_alike)
{
	const struct fuse_mknod_in file = { .mode = S_IFREG | 0644 }, fifo = { .mode = S_IFIFO | 0644 };
	const struct fuse_create_in create = { .mode = S_IFREG | 0644 };
	struct connection connection;

	connection_open(&connection);
	CHECK(connection_ask(&connection, FUSE_MKNOD, 1, &file, sizeof(file), "x", 2)->error == -EACCES);
	CHECK(connection_ask(&connection, FUSE_MKNOD, 1, &fifo, sizeof(fifo), "x", 2)->error == -EPERM);
	CHECK(connection_ask(&connection, FUSE_CREATE, 1, &create, sizeof(create), "x", 2)->error == -EACCES);
	CHECK(connection_ask(&connection, FUSE_UNLINK, 1, "cgroup.procs", 13, NULL, 0)->error == -EPERM);
	CHECK(connection_ask(&connection, FUSE_SYMLINK, 1, "a\0b", 4, NULL, 0)->error == -EPERM);
	CHECK(connection_ask(&connection, FUSE_FSYNCDIR, 1, NULL, 0, NULL, 0)->error == -EINVAL);
	CHECK(connection_ask(&connection, FUSE_OPENDIR, 1, NULL, 0, NULL, 0)->error == -ENOSYS);
	connection_close(&connection);
}

/* --- control files have no attributes beside those that stat(2) shows ------------------------------------------------- */

TEST(requests_for_xattrs_of_control_files_find_none)
{
	const struct fuse_getxattr_in room = { .size = 100 }, question = {};
	const struct mirror_setxattr_in set = { .size = 1 };
	struct connection connection;
	const struct answer *answer;

	connection_open(&connection);
	CHECK(connection_ask(&connection, FUSE_GETXATTR, CONTROL(1), &room, 8, "user.a", 7)->error == -ENODATA);
	CHECK(connection_ask(&connection, FUSE_SETXATTR, CONTROL(1), &set, 8, "user.a\0x", 8)->error == -EOPNOTSUPP);
	CHECK(connection_ask(&connection, FUSE_REMOVEXATTR, CONTROL(1), "user.a", 7, NULL, 0)->error == -ENODATA);
	answer = connection_ask(&connection, FUSE_LISTXATTR, CONTROL(1), &room, 8, NULL, 0);
	CHECK(answer->error == 0 && answer->size == 0);
	answer = connection_ask(&connection, FUSE_LISTXATTR, CONTROL(1), &question, 8, NULL, 0);
	CHECK(answer->error == 0 && answer->size == sizeof(struct fuse_getxattr_out));
	connection_close(&connection);
}

TEST(requests_with_xattrs_come_back_as_they_were_set)
{
	const struct fuse_getxattr_in room = { .size = 100 }, small = { .size = 2 };
	const struct mirror_setxattr_in set = { .size = 5 }, lying = { .size = 6 };
	struct connection connection;
	const struct answer *answer;

	connection_open(&connection);
	CHECK(connection_ask(&connection, FUSE_SETXATTR, 1, &set, 8, "user.a\0value", 12)->error == 0);
	answer = connection_ask(&connection, FUSE_GETXATTR, 1, &room, 8, "user.a", 7);
	CHECK(answer->error == 0 && answer->size == 5 && memcmp(answer->data, "value", 5) == 0);
	CHECK(connection_ask(&connection, FUSE_GETXATTR, 1, &small, 8, "user.a", 7)->error == -ERANGE);
	answer = connection_ask(&connection, FUSE_LISTXATTR, 1, &room, 8, NULL, 0);
	CHECK(answer->error == 0 && answer->size == 7 && memcmp(answer->data, "user.a", 7) == 0);
	CHECK(connection_ask(&connection, FUSE_SETXATTR, 1, &lying, 8, "user.a\0value", 12)->error == -EINVAL);
	CHECK(connection_ask(&connection, FUSE_SETXATTR, 1, &set, 8, "user.without_nul", 16)->error == -EINVAL);
	CHECK(connection_ask(&connection, FUSE_REMOVEXATTR, 1, "user.a", 7, NULL, 0)->error == 0);
	CHECK(connection_ask(&connection, FUSE_GETXATTR, 1, &room, 8, "user.a", 7)->error == -ENODATA);
	connection_close(&connection);
}
