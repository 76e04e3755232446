/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "slow.h"

#include <string.h>
#include <sys/eventfd.h>

#include "test.h"

static int gate;

static void pass_gate(struct request *request)
{
	eventfd_t one;
	int error;

	loop_interruptible_begin(request);
	error = eventfd_read(gate, &one) < 0 ? -errno : 0;
	loop_interruptible_end(request);
	reply_error(request, error);
}

static void handle_slowly(struct request *request)
{
	switch (request->header->opcode) {
	case FUSE_WRITE:
		loop_may_block(request);
		pass_gate(request);
		break;
	case FUSE_STATFS:
		pass_gate(request);
		break;
	case FUSE_LOOKUP:
		if (strcmp(request->body, SLOW_NAME) == 0)
			pass_gate(request);
		else
			dispatch(request);
		break;
	default:
		dispatch(request);
	}
}

void open_slow(struct connection *connection)
{
	gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	CHECK(gate >= 0);
	connection_create(connection);
	connection->mirror->handle = handle_slowly;
	CHECK(loop_start(connection->mirror) == 0);
}

void close_slow(struct connection *connection)
{
	connection_close(connection);
	close(gate);
}

uint64_t send_slow(struct connection *connection, uint32_t opcode)
{
	return connection_send(connection, opcode, FUSE_ROOT_ID, NULL, 0, NULL, 0);
}

void let_go(int count)
{
	CHECK(eventfd_write(gate, (eventfd_t)count) == 0);
}

void check_answers(struct connection *connection)
{
	const struct fuse_getattr_in in = {};

	CHECK(connection_ask(connection, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0)->error == 0);
}

void receive_all(struct connection *connection, int count)
{
	for (int i = 0; i < count; i++)
		CHECK(connection_receive(connection)->error == 0);
}
