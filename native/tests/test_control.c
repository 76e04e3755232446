/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is asked of whoever decides about control files, and how the answers go back. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "connection.h"
#include "test.h"

#define NODE CONTROL(1)
#define LONGEST MAX_IO

static bool was_asked(const char *what)
{
	return asked.what && strcmp(asked.what, what) == 0;
}

static bool caller_is_this_thread(const struct connection *connection)
{
	return asked.caller.tid == (uint32_t)gettid() && asked.caller.uid == connection->uid && asked.caller.gid == 0;
}

static bool are_the_decided_ones(const struct fuse_attr *attr)
{
	return attr->ino == NODE && attr->mode == (S_IFREG | 0640) && attr->uid == 7 && attr->gid == 8 && attr->size == 9 &&
	       attr->mtime == 10 && attr->mtimensec == 11 && attr->ctime == 12 && attr->ctimensec == 13 && attr->nlink == 1;
}

TEST(control_attributes_are_asked_for_and_kept_for_no_time)
{
	const struct fuse_getattr_in in = {};
	struct connection connection;
	const struct answer *answer;

	connection_open(&connection);
	answer = connection_ask(&connection, FUSE_LOOKUP, FUSE_ROOT_ID, control_names[1], strlen(control_names[1]) + 1, NULL, 0);
	CHECK(!answer->error && answer->entry.nodeid == NODE && are_the_decided_ones(&answer->entry.attr));
	CHECK(answer->entry.entry_valid > 0 && !answer->entry.attr_valid && !answer->entry.attr_valid_nsec);
	CHECK(was_asked("snapshot") && asked.node == NODE && asked.count == 1);
	answer = connection_ask(&connection, FUSE_GETATTR, NODE, &in, sizeof(in), NULL, 0);
	CHECK(!answer->error && are_the_decided_ones(&answer->attr.attr) && !answer->attr.attr_valid && asked.count == 2);
	decision = -EACCES;
	CHECK(connection_ask(&connection, FUSE_GETATTR, NODE, &in, sizeof(in), NULL, 0)->error == -EACCES);
	decision = -ENODEV;	/* the cgroup is gone: the kernel is to look the path up */
	CHECK(connection_ask(&connection, FUSE_GETATTR, NODE, &in, sizeof(in), NULL, 0)->error == -ESTALE);
	connection_close(&connection);
}

TEST(control_attributes_are_changed_one_by_one)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_GID, .mode = S_IFREG | 0600, .uid = 1, .gid = ~0u - 1};
	struct connection connection;
	const struct answer *answer;

	connection_open(&connection);
	answer = connection_ask(&connection, FUSE_SETATTR, NODE, &in, sizeof(in), NULL, 0);
	CHECK(!answer->error && are_the_decided_ones(&answer->attr.attr) && caller_is_this_thread(&connection));
	CHECK(asked.change.mode == 0600 && asked.change.uid == -1 && asked.change.gid == 0xfffffffe);
	in.valid = FATTR_SIZE | FATTR_MTIME;
	asked.count = 0;
	CHECK(!connection_ask(&connection, FUSE_SETATTR, NODE, &in, sizeof(in), NULL, 0)->error);
	CHECK(was_asked("snapshot") && asked.count == 1);
	in.valid = FATTR_UID;
	decision = -EPERM;
	CHECK(connection_ask(&connection, FUSE_SETATTR, NODE, &in, sizeof(in), NULL, 0)->error == -EPERM);
	CHECK(was_asked("setattr") && asked.change.uid == 1 && asked.change.mode == -1);
	connection_close(&connection);
}

static void release(struct connection *connection, uint64_t file_handle, uint32_t flags)
{
	const struct fuse_release_in in = {.fh = file_handle, .flags = flags};

	CHECK(!connection_ask(connection, FUSE_RELEASE, NODE, &in, sizeof(in), NULL, 0)->error);
}

static const struct answer *read_at(struct connection *connection, uint64_t file_handle, uint64_t offset)
{
	const struct fuse_read_in in = {.fh = file_handle, .offset = offset, .size = 4096};

	return connection_ask(connection, FUSE_READ, NODE, &in, sizeof(in), NULL, 0);
}

static bool reads(struct connection *connection, uint64_t file_handle, uint64_t offset, const char *text)
{
	const struct answer *answer = read_at(connection, file_handle, offset);

	return !answer->error && answer->size == strlen(text) && memcmp(answer->data, text, answer->size) == 0;
}

TEST(control_readers_see_one_content_from_its_beginning)
{
	struct connection connection;
	uint64_t handle, other;

	connection_open(&connection);
	release(&connection, connection_open_file(&connection, NODE, O_RDONLY), O_RDONLY);
	CHECK(!asked.count);
	handle = connection_open_file(&connection, NODE, O_RDONLY);
	other = connection_open_file(&connection, NODE, O_RDWR);
	asked.count = 0;
	CHECK(reads(&connection, handle, 3, "tent 1") && was_asked("snapshot") && asked.node == NODE);
	CHECK(reads(&connection, other, 0, "content 2"));
	CHECK(reads(&connection, handle, 0, "content 3"));
	CHECK(reads(&connection, handle, 8, "3") && reads(&connection, handle, 9, "") && reads(&connection, handle, 1 << 20, ""));
	CHECK(reads(&connection, other, 7, " 2") && asked.count == 3);
	decision = -ENODEV;
	CHECK(read_at(&connection, handle, 0)->error == -ENODEV && reads(&connection, handle, 8, "3"));
	decision = 0;
	asked.count = 0;
	release(&connection, handle, O_RDONLY);
	CHECK(!asked.count && read_at(&connection, handle, 0)->error == -EBADF);
	connection_close(&connection);
}

/* Nobody can be asked who he is where no descriptor is to be had: 0 to 2 are in use, and poll(2) needs that many. */
TEST(control_open_for_writing_fails_where_the_opener_cannot_be_known)
{
	const struct fuse_open_in in = {.flags = O_WRONLY};
	struct rlimit usual, none;
	struct connection connection;
	uint64_t before, after;

	connection_open(&connection);
	before = connection_open_file(&connection, NODE, O_WRONLY);
	release(&connection, before, O_WRONLY);
	CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = usual.rlim_max};
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(connection_ask(&connection, FUSE_OPEN, NODE, &in, sizeof(in), NULL, 0)->error == -EMFILE);
	CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
	/* The place in the table that it had for a moment is free again. */
	after = connection_open_file(&connection, NODE, O_WRONLY);
	CHECK((uint32_t)after == (uint32_t)before && after != before);
	release(&connection, after, O_WRONLY);
	connection_close(&connection);
}

TEST(control_writers_are_known_by_what_they_were_at_the_open)
{
	static char data[LONGEST];
	struct fuse_write_in in = {.size = 4};
	struct connection connection;
	const struct answer *answer;
	uint64_t other;

	connection_open(&connection);
	in.fh = connection_open_file(&connection, NODE, O_WRONLY | O_TRUNC | O_APPEND);
	connection.uid = 1;
	other = connection_open_file(&connection, NODE, O_RDWR);
	CHECK(!asked.count);
	answer = connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), "none", 4);
	CHECK(!answer->error && answer->write.size == 4);
	CHECK(was_asked("write") && asked.node == NODE && caller_is_this_thread(&connection));
	CHECK(asked.opener.uid == 0 && asked.opener.capabilities && asked.opener.tgid == (uint32_t)getpid());
	CHECK(asked.size == 4 && memcmp(asked.data, "none", 4) == 0);
	asked.count = 0;
	CHECK(connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), "non", 3)->error == -EINVAL && !asked.count);
	in.size = LONGEST;
	CHECK(!connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), data, LONGEST)->error);
	CHECK(asked.size == LONGEST);
	decision = -EINVAL;
	CHECK(connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), data, LONGEST)->error == -EINVAL);
	asked.count = decision = 0;
	release(&connection, in.fh, O_WRONLY);
	CHECK(connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), data, LONGEST)->error == -EBADF && !asked.count);
	in.fh = other;
	CHECK(!connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), data, LONGEST)->error);
	CHECK(asked.opener.uid == 1 && !asked.opener.capabilities && asked.opener.tgid == (uint32_t)getpid());
	connection_close(&connection);
}

TEST(control_readers_do_not_write)
{
	struct fuse_write_in in = {.size = 4};
	struct connection connection;

	connection_open(&connection);
	in.fh = connection_open_file(&connection, NODE, O_RDONLY);
	CHECK(connection_ask(&connection, FUSE_WRITE, NODE, &in, sizeof(in), "none", 4)->error == -EBADF && !asked.count);
	connection_close(&connection);
}

static const struct answer *ask_ioctl(struct connection *connection, uint64_t file_handle, uint32_t command, uint32_t in_size,
				      const void *data, uint32_t size)
{
	const struct fuse_ioctl_in in = {.fh = file_handle, .cmd = command, .in_size = in_size};

	return connection_ask(connection, FUSE_IOCTL, NODE, &in, sizeof(in), data, size);
}

TEST(control_ioctls_come_with_their_data)
{
	struct connection connection;
	const struct answer *answer;
	uint64_t reader, writer;
	char data[300] = {};

	connection_open(&connection);
	reader = connection_open_file(&connection, NODE, O_RDONLY);
	writer = connection_open_file(&connection, NODE, O_WRONLY);
	answer = ask_ioctl(&connection, writer, 0x1234, 4, "data", 4);
	CHECK(!answer->error && answer->size == sizeof(struct fuse_ioctl_out));
	CHECK(was_asked("ioctl") && asked.command == 0x1234 && asked.node == NODE && caller_is_this_thread(&connection));
	CHECK(asked.size == 4 && memcmp(asked.data, "data", 4) == 0 && asked.opener.tgid);
	decision = -ENOTTY;
	CHECK(ask_ioctl(&connection, reader, 0x5678, 0, NULL, 0)->error == -ENOTTY && asked.size == 0);
	CHECK(!asked.opener.tgid);
	asked.count = 0;
	CHECK(ask_ioctl(&connection, writer, 1, 100, data, 50)->error == -ENOTTY && !asked.count);
	CHECK(ask_ioctl(&connection, 12345, 1, 0, NULL, 0)->error == -EBADF && !asked.count);
	connection_close(&connection);
}

TEST(control_is_told_of_the_end_once)
{
	struct connection connection;

	connection_open(&connection);
	CHECK(!asked.ended);
	connection_close(&connection);
	CHECK(asked.ended == 1);
}
