/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files by their handles: a handle is good for its own node, from OPEN to RELEASE. */
#include <fcntl.h>
#include <string.h>

#include "connection.h"
#include "test.h"

static uint64_t open_node(struct connection *connection, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in in = { .flags = flags };
	const struct answer *answer = connection_ask(connection, FUSE_OPEN, node, &in, sizeof(in), NULL, 0);
	struct mirror_open_out out;

	CHECK(answer->error == 0 && answer->size == sizeof(out));
	memcpy(&out, answer->data, sizeof(out));
	CHECK(out.open_flags == (FOPEN_DIRECT_IO | FOPEN_NOFLUSH) && out.backing_id == 0 && out.fh != 0);
	return out.fh;
}

static const struct answer *read_file(struct connection *connection, uint64_t node, uint64_t fh, uint64_t offset,
				      uint32_t size)
{
	const struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

	return connection_ask(connection, FUSE_READ, node, &in, sizeof(in), NULL, 0);
}

static bool reads_as(struct connection *connection, uint64_t node, uint64_t fh, const char *expected)
{
	const struct answer *answer = read_file(connection, node, fh, 0, 4096);

	return answer->error == 0 && answer->size == strlen(expected) && !memcmp(answer->data, expected, answer->size);
}

static int write_file(struct connection *connection, uint64_t node, uint64_t fh, const char *text, uint32_t size)
{
	const struct fuse_write_in in = { .fh = fh, .size = size };
	const struct answer *answer = connection_ask(connection, FUSE_WRITE, node, &in, sizeof(in), text, strlen(text));

	return answer->error ? answer->error : (int)answer->write.size;
}

static void release_file(struct connection *connection, uint64_t node, uint64_t fh)
{
	const struct fuse_release_in in = { .fh = fh };

	CHECK(connection_ask(connection, FUSE_RELEASE, node, &in, sizeof(in), NULL, 0)->error == 0);
}

TEST(file_is_written_and_read_by_its_handle)
{
	struct connection connection;
	uint64_t node, fh;

	connection_open(&connection);
	node = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.max.depth");
	fh = open_node(&connection, node, O_RDWR);
	CHECK(reads_as(&connection, node, fh, "max\n"));
	CHECK(write_file(&connection, node, fh, "17", 2) == 2);
	CHECK(reads_as(&connection, node, fh, "17\n"));
	CHECK(read_file(&connection, node, fh, 1, 1)->data[0] == '7');
	CHECK(read_file(&connection, node, fh, 100, 4096)->size == 0);
	CHECK(read_file(&connection, node, fh, 0, UINT32_MAX)->size == 3);
	CHECK(write_file(&connection, node, fh, "-1", 2) == -ERANGE);
	release_file(&connection, node, fh);
	connection_close(&connection);
}

TEST(file_handles_that_stand_for_nothing_are_bad)
{
	struct connection connection;
	uint64_t node, other, fh;

	connection_open(&connection);
	node = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.max.depth");
	other = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.procs");
	fh = open_node(&connection, node, O_RDWR);
	const uint64_t bad[] = { 0, 1, fh + 1, fh ^ 1ull << 32, UINT64_MAX };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(read_file(&connection, node, bad[i], 0, 10)->error == -EBADF);
		CHECK(write_file(&connection, node, bad[i], "1", 1) == -EBADF);
		release_file(&connection, node, bad[i]);
	}
	CHECK(read_file(&connection, other, fh, 0, 10)->error == -EBADF);
	CHECK(write_file(&connection, other, fh, "0", 1) == -EBADF);
	CHECK(reads_as(&connection, node, fh, "max\n"));
	release_file(&connection, node, fh);
	release_file(&connection, node, fh);
	CHECK(read_file(&connection, node, fh, 0, 10)->error == -EBADF);
	connection_close(&connection);
}

TEST(file_writes_of_another_length_than_they_say_are_invalid)
{
	struct connection connection;
	uint64_t node, fh;

	connection_open(&connection);
	node = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.max.depth");
	fh = open_node(&connection, node, O_WRONLY);
	CHECK(write_file(&connection, node, fh, "1", 2) == -EINVAL);
	CHECK(write_file(&connection, node, fh, "1", UINT32_MAX) == -EINVAL);
	CHECK(write_file(&connection, node, fh, "12", 1) == 1);
	fh = open_node(&connection, node, O_RDONLY);
	CHECK(reads_as(&connection, node, fh, "1\n"));
	CHECK(write_file(&connection, node, fh, "5", 1) < 0);	/* open for reading */
	CHECK(reads_as(&connection, node, fh, "1\n"));
	connection_close(&connection);
}

TEST(file_opens_that_cgroup2_refuses_are_refused)
{
	const struct fuse_open_in direct = { .flags = O_RDONLY | O_DIRECT }, plain = { .flags = O_RDONLY };
	struct connection connection;
	uint64_t node;

	connection_open(&connection);
	node = connection_lookup(&connection, FUSE_ROOT_ID, "cgroup.procs");
	CHECK(connection_ask(&connection, FUSE_OPEN, node, &direct, sizeof(direct), NULL, 0)->error == -EINVAL);
	CHECK(connection_ask(&connection, FUSE_OPEN, 1ull << 50, &plain, sizeof(plain), NULL, 0)->error == -ESTALE);
	connection_close(&connection);
}
