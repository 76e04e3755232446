// SPDX-License-Identifier: GPL-2.0-or-later
/* What has been said of a control file is not asked again, until anything that it was made of has changed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "bpf.h"
#include "connection.h"
#include "mirror/known.h"
#include "test.h"

#define NODE (NODE_CONTROL | FUSE_ROOT_ID)
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
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB, .insns = allow, .size = sizeof(allow), .license = "GPL", .name = "allow",
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
	const struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_read_in in = {.size = 4096};
	struct fuse_release_in release = {};

	asked.count = 0;
	attributes(connection);
	release.fh = in.fh = ((const struct fuse_open_out *)connection_ask(connection, FUSE_OPEN, NODE, &open_in,
									   sizeof(open_in), NULL, 0)->data)->fh;
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

TEST(known_is_what_was_said_until_anything_changes)
{
	struct connection connection;
	char path[600];

	open_knowing(&connection);
	is_lasting = true;
	close(attach(&connection));
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 0);
	CHECK(attributes(&connection)->size == 9);
	close(attach(&connection));
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 0);
	CHECK(setxattr(connection.source, NOTE ".one", "x", 1, 0) == 0);
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 0);
	CHECK(setxattr(connection.source, NOTE ".one", "y", 1, 0) == 0);
	CHECK(asked_for_all(&connection) == 2 && asked_for_all(&connection) == 0);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", connection.source);
	CHECK(chown(path, 1, -1) == 0);
	CHECK(asked_for_all(&connection) == 1 && asked_for_all(&connection) == 0);	/* the content is the same */
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
