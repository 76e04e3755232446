// SPDX-License-Identifier: GPL-2.0-or-later
/* What has been said of a control file is not asked again, until anything that it was made of has changed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "bpf.h"
#include "connection.h"
#include "mirror/control_known.h"
#include "mirror/watch.h"
#include "test.h"

#define NODE CONTROL(0)
#define NOTE "trusted.cgfs-test"

static const struct bpf_insn allow[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static uint32_t attach_types[] = { BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS };
static const char *const note_names[] = { NOTE ".one", NOTE ".other" };

/* A connection whose mirror knows what untouched files are. */
static void open_knowing(struct connection *connection)
{
	static char content[] = "none\n";

	connection_create(connection);
	connection->mirror->n_readers = 1;
	connection->mirror->control_attach_types = attach_types;
	connection->mirror->untouched = (struct cgfs_untouched){
		.content = content, .note_names = note_names, .n_notes = 1, .mode = 0644, .time_s = 5,
	};
	CHECK(loop_start(connection->mirror) == 0);
}

static void close_knowing(struct connection *connection)
{
	connection->mirror->control_attach_types = NULL;
	connection->mirror->untouched = (struct cgfs_untouched){};
	connection_close(connection);
}

static int attach(const struct connection *connection)
{
	struct cgfs_prog_load load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB, .insns = allow, .size = sizeof(allow), .name = "allow",
	};
	CLEANUP_FD int dir = open(connection->source, O_RDONLY | O_DIRECTORY);
	int prog = cgfs_prog_load(&load);

	CHECK(dir >= 0 && prog >= 0);
	CHECK(cgfs_prog_attach(dir, prog, BPF_CGROUP_INET_INGRESS, BPF_F_ALLOW_MULTI, -1, 0) == 0);
	return prog;
}

static const struct fuse_attr *attributes(struct connection *connection)
{
	const struct fuse_getattr_in in = {};
	const struct answer *answer = connection_ask(connection, FUSE_GETATTR, NODE, &in, sizeof(in), NULL, 0);

	CHECK(!answer->error && !answer->attr.attr_valid);
	return &answer->attr.attr;
}

/* How often whoever decides was asked when all there is to ask for was asked for. */
static unsigned int asked_for_all(struct connection *connection)
{
	struct fuse_read_in in = {.size = 4096};
	struct fuse_release_in release = {};

	asked.count = 0;
	attributes(connection);
	release.fh = in.fh = connection_open_file(connection, NODE, O_RDONLY);
	CHECK(!connection_ask(connection, FUSE_READ, NODE, &in, sizeof(in), NULL, 0)->error);
	CHECK(!connection_ask(connection, FUSE_RELEASE, NODE, &release, sizeof(release), NULL, 0)->error);
	return asked.count;
}

TEST(known_are_the_untouched_from_the_start)
{
	struct connection connection;

	open_knowing(&connection);
	CHECK(asked_for_all(&connection) == 0);
	CHECK(attributes(&connection)->size == 5 && attributes(&connection)->mtime == 5);
	CHECK(setxattr(connection.source, NOTE ".one", "x", 1, 0) == 0);
	CHECK(asked_for_all(&connection) == 1);	/* nothing is attached, which is all that the content says */
	CHECK(setxattr(connection.source, NOTE ".other", "x", 1, 0) == 0 && removexattr(connection.source, NOTE ".one") == 0);
	CHECK(asked_for_all(&connection) == 0);	/* that note is about another file */
	close_knowing(&connection);
}

/* After the first note there is no room even for the length of the second, which is missing. */
TEST(known_is_nothing_where_the_notes_are_too_long)
{
	static char long_note[NOTES_SIZE];
	struct connection connection;

	open_knowing(&connection);
	connection.mirror->untouched.n_notes = 2;
	is_lasting = true;
	close(attach(&connection));
	for (size_t room = 2 * sizeof(ssize_t) - 2; room < 2 * sizeof(ssize_t) + 2; room++) {
		bool fits = room >= 2 * sizeof(ssize_t);

		CHECK(setxattr(connection.source, NOTE ".one", long_note, sizeof(long_note) - room, 0) == 0);
		CHECK(asked_for_all(&connection) > 0 && (asked_for_all(&connection) == 0) == fits);
	}
	close_knowing(&connection);
}

TEST(known_is_what_was_said_until_anything_changes)
{
	struct connection connection;
	char path[600];

	open_knowing(&connection);
	is_lasting = true;
	close(attach(&connection));
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);
	CHECK(attributes(&connection)->size == 9);
	close(attach(&connection));
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);
	CHECK(setxattr(connection.source, NOTE ".one", "x", 1, 0) == 0);
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);
	CHECK(setxattr(connection.source, NOTE ".one", "y", 1, 0) == 0);
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", connection.source);
	CHECK(chown(path, 1, -1) == 0);
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);
	close_knowing(&connection);
}

static void settle(struct cgfs_mirror *mirror)
{
	while (!watch_has_counted(mirror))
		watch_settle(mirror);
}

/* With what others do on cgroup2 being watched, both are remembered; of which nothing is to be seen but at once. */
TEST(known_are_the_owner_and_the_notes_that_there_are)
{
	struct connection connection;
	char path[600];

	open_knowing(&connection);
	CHECK(watch_start(connection.mirror) == 0);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", connection.source);
	for (uint32_t uid = 1; uid < 50; uid++) {
		CHECK(chown(path, uid, (gid_t)-1) == 0);
		CHECK(attributes(&connection)->uid == uid);
		settle(connection.mirror);
		CHECK(attributes(&connection)->uid == uid && attributes(&connection)->uid == uid);
		CHECK(asked_for_all(&connection) == 0);
		CHECK(setxattr(connection.source, NOTE ".one", "x", 1, 0) == 0);
		CHECK(asked_for_all(&connection) == 1);
		settle(connection.mirror);
		CHECK(asked_for_all(&connection) == 1);
		CHECK(removexattr(connection.source, NOTE ".one") == 0);
		CHECK(asked_for_all(&connection) == 0);
	}
	close_knowing(&connection);
}

TEST(known_is_nothing_that_does_not_last)
{
	struct connection connection;
	static char long_note[NOTES_SIZE];

	open_knowing(&connection);
	close(attach(&connection));
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 2);
	is_lasting = true;
	CHECK(setxattr(connection.source, NOTE ".one", long_note, sizeof(long_note), 0) == 0);
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 2);
	close_knowing(&connection);
}

/* The entry of the control file in a listing of SOURCE, the last but one. */
static struct fuse_entry_out listed(struct connection *connection)
{
	struct fuse_read_in in = {.size = 65536};
	struct fuse_entry_out entry = {};
	const struct answer *answer;

	for (;;) {
		answer = connection_ask(connection, FUSE_READDIRPLUS, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0);
		CHECK(!answer->error);
		if (!answer->size)
			return entry;
		for (size_t at = 0; at < answer->size;) {
			const struct fuse_direntplus *plus = (const struct fuse_direntplus *)(answer->data + at);

			if (plus->dirent.ino == NODE)
				entry = plus->entry_out;
			in.offset = plus->dirent.off;
			at += FUSE_DIRENTPLUS_SIZE(plus);
		}
	}
}

TEST(known_is_listed_and_what_is_not_is_not)
{
	struct connection connection;

	open_knowing(&connection);
	is_lasting = true;
	CHECK(listed(&connection).nodeid == NODE && listed(&connection).attr.size == 5);
	close(attach(&connection));
	CHECK(listed(&connection).nodeid == 0);
	attributes(&connection);
	CHECK(listed(&connection).nodeid == NODE && listed(&connection).attr.size == 9 && !listed(&connection).attr_valid);
	close(attach(&connection));
	CHECK(listed(&connection).nodeid == 0);
	CHECK(asked.count == 1);
	close_knowing(&connection);
}

static struct state state_of(uint64_t node)
{
	return (struct state){.node = node, .revision = 1, .is_complete = true};
}

TEST(known_contents_are_bounded)
{
	enum { N = 20 };
	static char data[MAX_IO];
	const struct fuse_attr attr = {};
	struct content *contents[N];
	struct connection connection;
	unsigned int n_known = 0;

	connection_create(&connection);
	for (uint64_t i = 0; i < N; i++) {
		struct state state = state_of(100 + i);

		memcpy(data, &i, sizeof(i));
		contents[i] = content_get(connection.mirror->contents, data, sizeof(data));
		know(connection.mirror, &state, &attr, contents[i]);
		CHECK(contents[i]->references == 2);
	}
	for (int i = 0; i < N; i++)
		n_known += contents[i]->references == 2;
	CHECK(n_known == 8);
	CHECK(contents[N - 1]->references == 2);
	for (int i = 0; i < N; i++)
		content_put(contents[i]);
	connection_close(&connection);
}

TEST(known_contents_are_there_once_and_go_with_the_last)
{
	struct connection connection;
	struct contents *contents;
	struct content *one, *other;

	connection_create(&connection);
	contents = connection.mirror->contents;
	one = content_get(contents, "text", 4);
	other = content_get(contents, "text", 4);
	CHECK(one == other && one->size == 4 && one->references == 2);
	other = content_get(contents, "texts", 5);
	CHECK(other != one && content_share(one) == one && one->references == 3);
	for (int i = 0; i < 3; i++)
		content_put(one);
	content_put(other);
	one = content_get(contents, "text", 4);
	CHECK(one->references == 1);
	content_put(one);
	connection_close(&connection);
}
