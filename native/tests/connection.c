/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "connection.h"

#include <ftw.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mirror/files.h"
#include "test.h"

const char *const control_names[2] = { "net.one_filter", "net.other_filter" };

/* --- who decides about control files: writes down what was asked, and says what the test has told --------------------- */

struct asked asked;
int decision;
bool is_lasting;

static int decide(const char *what, uint64_t node, const struct cgfs_caller *caller)
{
	asked.node = node;
	if (caller)
		asked.caller = *caller;
	asked.size = 0;
	asked.what = what;
	asked.count++;
	return decision;
}

static void note_data(const void *data, uint32_t size)
{
	asked.size = size;
	memcpy(asked.data, data, size < sizeof(asked.data) ? size : sizeof(asked.data));
}

static int decide_snapshot(void *context, uint64_t node, struct cgfs_control_snapshot *snapshot, char *content, uint32_t room)
{
	int error = decide("snapshot", node, NULL);

	(void)context;
	*snapshot = (struct cgfs_control_snapshot){
		.uid = 7, .gid = 8, .mode = 0640, .modified_ns = 10000000011, .changed_ns = 12000000013, .lasting = is_lasting,
	};
	return error ? error : snprintf(content, room, "content %u", asked.count);
}

static int decide_setattr(void *context, uint64_t node, const struct cgfs_caller *caller, const struct cgfs_control_change *change)
{
	(void)context;
	asked.change = *change;
	return decide("setattr", node, caller);
}

static void note_opener(const struct cgfs_credentials *opener)
{
	memset(&asked.opener, 0, sizeof(asked.opener));
	if (!opener)
		return;
	asked.opener.uid = opener->uid;
	asked.opener.tgid = opener->tgid;
	asked.opener.capabilities = opener->capabilities;
}

static int decide_write(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
			const char *data, uint32_t size)
{
	int error = decide("write", node, caller);

	(void)context;
	note_opener(opener);
	note_data(data, size);
	return error;
}

static int decide_ioctl(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
			uint32_t command, const void *data, uint32_t size)
{
	int error = decide("ioctl", node, caller);

	(void)context;
	asked.command = command;
	note_opener(opener);
	note_data(data, size);
	return error;
}

static int decide_ended(void *context)
{
	(void)context;
	asked.ended++;
	return 0;
}

static const struct cgfs_control_operations decider = {
	decide_snapshot, decide_setattr, decide_write, decide_ioctl, decide_ended,
};

/* --- the connection --------------------------------------------------------------------------------------------------- */

/* The cgroup2 mount of this machine, wherever it is. */
static void find_cgroup2(char path[256])
{
	FILE *mountinfo = fopen("/proc/self/mountinfo", "r");
	char line[4096];

	CHECK(mountinfo);
	*path = 0;
	while (!*path && fgets(line, sizeof(line), mountinfo)) {
		char root[256];

		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %255s %255s", root, path) != 2)
			*path = 0;
	}
	fclose(mountinfo);
	CHECK(*path);
}

void connection_create(struct connection *connection)
{
	struct cgfs_mirror_options options = {
		.source = connection->source, .control_names = control_names, .n_control_names = 2,
	};
	static int count;
	char root[256];
	int ends[2], size = 8 * MAX_IO;

	*connection = (struct connection){};
	asked = (struct asked){};
	decision = 0;
	is_lasting = false;
	find_cgroup2(root);
	snprintf(connection->source, sizeof(connection->source), "%s/cgfs-native-%d-%d", root, getpid(), count++);
	CHECK(mkdir(connection->source, 0755) == 0);
	CHECK(mirror_create(&options, &connection->mirror) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0);
	connection->mirror->control = &decider;
	connection->mirror->fuse_fd = ends[0];
	connection->mirror->notify_fd = dup(ends[0]);
	connection->kernel = ends[1];
	CHECK(poller_start(connection->mirror) == 0);
}

void connection_open(struct connection *connection)
{
	connection_create(connection);
	connection->mirror->n_readers = 1;
	CHECK(loop_start(connection->mirror) == 0);
}

/* Directories only: cgroup2 removes its files itself. */
static int remove_directory(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	return type == FTW_DP ? rmdir(path) : 0;
}

void connection_close(struct connection *connection)
{
	CHECK(shutdown(connection->kernel, SHUT_RDWR) == 0);
	cgfs_mirror_close(connection->mirror);
	close(connection->kernel);
	CHECK(nftw(connection->source, remove_directory, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

void connection_remove_leftovers(pid_t pid)
{
	char root[256], pattern[512];
	glob_t found;

	find_cgroup2(root);
	snprintf(pattern, sizeof(pattern), "%s/cgfs-native-%d-*", root, pid);
	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		nftw(found.gl_pathv[i], remove_directory, 16, FTW_DEPTH | FTW_PHYS);
	globfree(&found);
}

void connection_send_raw(struct connection *connection, const void *data, size_t size)
{
	CHECK(send(connection->kernel, data, size, MSG_NOSIGNAL) == (ssize_t)size);
}

uint64_t connection_send(struct connection *connection, uint32_t opcode, uint64_t node, const void *body, size_t body_size,
			 const void *rest, size_t rest_size)
{
	struct fuse_in_header header = {
		.len = sizeof(header) + body_size + rest_size,
		.opcode = opcode,
		.unique = connection->last_unique += 2,
		.nodeid = node,
		.uid = connection->uid,
		.pid = connection->tid ? connection->tid : (uint32_t)gettid(),
	};
	struct iovec parts[3] = {
		{ &header, sizeof(header) }, { (void *)body, body_size }, { (void *)rest, rest_size },
	};

	CHECK(writev(connection->kernel, parts, 3) == (ssize_t)header.len);
	return header.unique;
}

void wait_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	CHECK(poll(&poll_fd, 1, 30000) == 1);
}

bool connection_has_answer(struct connection *connection)
{
	struct pollfd poll_fd = { .fd = connection->kernel, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

const struct answer *connection_receive(struct connection *connection)
{
	static struct answer answer;
	struct fuse_out_header header;
	struct iovec parts[2] = { { &header, sizeof(header) }, { answer.data, sizeof(answer.data) } };
	ssize_t size;

	do {
		wait_readable(connection->kernel);
		size = readv(connection->kernel, parts, 2);
		CHECK(size >= (ssize_t)sizeof(header) && header.len == size);
	} while (!header.unique);
	CHECK(header.error <= 0 && header.error > -512);
	CHECK(!header.error || size == sizeof(header));
	answer.unique = header.unique;
	answer.error = header.error;
	answer.size = size - sizeof(header);
	return &answer;
}

const struct answer *connection_ask(struct connection *connection, uint32_t opcode, uint64_t node, const void *body,
				    size_t body_size, const void *rest, size_t rest_size)
{
	uint64_t unique = connection_send(connection, opcode, node, body, body_size, rest, rest_size);
	const struct answer *answer = connection_receive(connection);

	CHECK(answer->unique == unique);
	return answer;
}

uint64_t connection_lookup(struct connection *connection, uint64_t directory, const char *name)
{
	const struct answer *answer = connection_ask(connection, FUSE_LOOKUP, directory, name, strlen(name) + 1, NULL, 0);

	CHECK(answer->error == 0 && answer->size == sizeof(struct fuse_entry_out));
	return answer->entry.nodeid;
}

uint64_t connection_open_file(struct connection *connection, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in in = { .flags = flags };
	const struct answer *answer = connection_ask(connection, FUSE_OPEN, node, &in, sizeof(in), NULL, 0);

	CHECK(answer->error == 0 && answer->size == sizeof(struct mirror_open_out));
	return answer->open.fh;
}
