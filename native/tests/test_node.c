/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What node ids say. */
#include <string.h>

#include "connection.h"
#include "test.h"

TEST(node_kind_follows_from_the_name)
{
	static const struct {
		const char *name;
		enum file_kind kind;
	} cases[] = {
		{ "cgroup.procs", KIND_PROCS }, { "cgroup.threads", KIND_THREADS },
		{ "cgroup.subtree_control", KIND_SWITCH }, { "cgroup.type", KIND_SWITCH },
		{ "cpu.pressure", KIND_PRESSURE }, { "memory.pressure", KIND_PRESSURE }, { "irq.pressure", KIND_PRESSURE },
		{ "cgroup.pressure", KIND_SWITCH }, { ".pressure", KIND_PLAIN },
		{ "cgroup.events", KIND_EVENTS }, { "memory.events", KIND_EVENTS }, { "memory.events.local", KIND_EVENTS },
		{ "cgroup.controllers", KIND_PLAIN }, { "cgroup.procs2", KIND_PLAIN }, { "events", KIND_PLAIN },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK(kind_of_name(cases[i].name) == cases[i].kind);
}

TEST(node_id_leads_back_to_the_kernfs_id)
{
	struct cgfs_mirror mirror = { .source_id = 77 };
	uint64_t id = (1ull << 56) - 2, node = node_id(&mirror, "cgroup.procs", id);

	CHECK(node_kind(node) == KIND_PROCS && node_kernfs_id(&mirror, node) == id && !node_is_control(node));
	CHECK(node_id(&mirror, NULL, id) == id);
	CHECK(node_id(&mirror, NULL, 77) == FUSE_ROOT_ID && node_kernfs_id(&mirror, FUSE_ROOT_ID) == 77);
}

TEST(node_is_found_by_its_id_until_it_is_removed)
{
	struct connection connection;
	uint64_t node;
	struct stat st;
	int fd;

	connection_open(&connection);
	node = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.procs");
	fd = node_open_path(connection.mirror, node);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == node_kernfs_id(connection.mirror, node));
	close(fd);
	CHECK(node_open_path(connection.mirror, node + 1000000) == -ESTALE);
	connection_close(&connection);
}

TEST(node_of_a_directory_is_plain_whatever_its_name)
{
	struct connection connection;
	const struct fuse_mkdir_in in = { .mode = 0755 };
	const struct answer *answer;

	connection_open(&connection);
	answer = connection_ask(&connection, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), "some.pressure",
				sizeof("some.pressure"));
	CHECK(answer->error == 0 && answer->entry.nodeid == answer->entry.attr.ino);
	CHECK(connection_lookup(&connection, FUSE_ROOT_ID, "some.pressure") == answer->entry.nodeid);
	connection_close(&connection);
}
