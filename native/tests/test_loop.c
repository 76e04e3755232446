/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that wait hold up nobody, are answered when what they wait for comes, and can be interrupted. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "slow.h"
#include "test.h"

static void interrupt(struct connection *connection, uint64_t unique)
{
	const struct fuse_interrupt_in in = { .unique = unique };

	connection_send(connection, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
}

static void check_answers_of(struct connection *connection, uint32_t uid)
{
	uint32_t before = connection->uid;

	connection->uid = uid;
	check_answers(connection);
	connection->uid = before;
}

TEST(loop_answers_while_requests_wait)
{
	struct connection connection;

	open_slow(&connection);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 40; i++) {
			send_slow(&connection, FUSE_WRITE);
			check_answers(&connection);
		}
		let_go(40);
		receive_all(&connection, 40);
		check_answers(&connection);
	}
	close_slow(&connection);
}

TEST(loop_answers_while_a_request_waits_unexpectedly)
{
	struct connection connection;

	open_slow(&connection);
	for (int i = 0; i < 5; i++) {
		send_slow(&connection, FUSE_STATFS);
		check_answers(&connection);
	}
	let_go(5);
	receive_all(&connection, 5);
	check_answers(&connection);
	close_slow(&connection);
}

TEST(loop_serves_what_had_to_wait_for_a_thread)
{
	enum { MORE_THAN_THREADS = 500 };
	struct connection connection;

	open_slow(&connection);
	for (int i = 0; i < MORE_THAN_THREADS; i++)
		send_slow(&connection, FUSE_WRITE);
	let_go(MORE_THAN_THREADS);
	receive_all(&connection, MORE_THAN_THREADS);
	check_answers(&connection);
	close_slow(&connection);
}

/* More than there are threads for anybody. */
enum { MANY = 450 };

/* With so many writes of one user, of which most are kept for later. Returns the unique id of the last. */
static uint64_t open_with_many_writes(struct connection *connection)
{
	uint64_t last = 0;

	open_slow(connection);
	connection->uid = 1000;
	for (int i = 0; i < MANY; i++)
		last = send_slow(connection, FUSE_WRITE);
	return last;
}

static int32_t look_up(struct connection *connection, const char *name)
{
	return connection_ask(connection, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, name, strlen(name) + 1)->error;
}

TEST(loop_looks_names_up_for_a_user_whose_other_requests_are_kept)
{
	struct connection connection;

	open_with_many_writes(&connection);
	CHECK(look_up(&connection, "cgroup.procs") == 0);
	CHECK(look_up(&connection, "no-such-name") == -ENOENT);
	let_go(MANY);
	receive_all(&connection, MANY);
	close_slow(&connection);
}

TEST(loop_refuses_the_lookups_that_are_too_many)
{
	enum { MAY_WAIT = 128 };
	struct connection connection;

	open_slow(&connection);
	connection.uid = 1000;
	for (int i = 0; i < MANY; i++)
		connection_send(&connection, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, SLOW_NAME, sizeof(SLOW_NAME));
	for (int i = MAY_WAIT; i < MANY; i++)
		CHECK(connection_receive(&connection)->error == -ENOMEM);
	CHECK(look_up(&connection, "cgroup.procs") == -ENOMEM);
	connection.uid = 2000;
	CHECK(look_up(&connection, "cgroup.procs") == 0);
	let_go(MAY_WAIT);
	receive_all(&connection, MAY_WAIT);
	close_slow(&connection);
}

TEST(loop_answers_others_while_one_user_waits_with_more_requests_than_there_are_threads)
{
	struct connection connection;

	open_slow(&connection);
	for (uint32_t uid = 1000; uid < 1003; uid++) {
		connection.uid = uid;
		for (int i = 0; i < MANY; i++)
			send_slow(&connection, uid % 2 ? FUSE_STATFS : FUSE_WRITE);
		check_answers_of(&connection, 2000);
	}
	for (int i = 0; i < 5; i++) {
		connection.uid = 2000;
		send_slow(&connection, FUSE_WRITE);
		connection.uid = 0;
		send_slow(&connection, FUSE_WRITE);
		check_answers(&connection);
	}
	let_go(3 * MANY + 10);
	receive_all(&connection, 3 * MANY + 10);
	check_answers(&connection);
	close_slow(&connection);
}

TEST(loop_answers_others_while_many_users_wait)
{
	struct connection connection;

	open_slow(&connection);
	for (int i = 0; i < MANY; i++) {
		connection.uid = 3000 + i % 20;
		send_slow(&connection, FUSE_WRITE);
	}
	connection.uid = 0;
	for (int i = 0; i < 50; i++)
		send_slow(&connection, FUSE_WRITE);
	check_answers(&connection);
	check_answers_of(&connection, 2000);
	let_go(MANY + 50);
	receive_all(&connection, MANY + 50);
	close_slow(&connection);
}

/* With two readers, the interrupt may be read first. */
TEST(loop_interrupts_a_write_that_would_be_kept_after_its_interrupt)
{
	struct connection connection;
	uint64_t early;

	open_with_many_writes(&connection);
	check_answers_of(&connection, 2000);
	early = connection.last_unique + 1000;
	interrupt(&connection, early);
	check_answers_of(&connection, 2000);
	connection.last_unique = early - 2;
	send_slow(&connection, FUSE_WRITE);
	CHECK(connection_receive(&connection)->unique == early);
	connection.last_unique += 100;
	let_go(MANY);
	receive_all(&connection, MANY);
	close_slow(&connection);
}

TEST(loop_interrupts_a_write_that_is_kept_for_later)
{
	struct connection connection;
	uint64_t last = open_with_many_writes(&connection);

	check_answers_of(&connection, 2000);
	interrupt(&connection, last);
	CHECK(connection_receive(&connection)->unique == last);
	let_go(MANY - 1);
	receive_all(&connection, MANY - 1);
	check_answers(&connection);
	close_slow(&connection);
}

TEST(loop_ends_with_requests_that_are_kept_for_later)
{
	struct connection connection;

	open_with_many_writes(&connection);
	check_answers_of(&connection, 2000);
	CHECK(shutdown(connection.kernel, SHUT_RDWR) == 0);
	loop_wait_for_end(connection.mirror);
	let_go(MANY);
	close_slow(&connection);
}

TEST(loop_interrupts_a_request_that_waits)
{
	struct connection connection;

	open_slow(&connection);
	for (int i = 0; i < 50; i++) {
		uint64_t unique = send_slow(&connection, FUSE_WRITE);
		const struct answer *answer;

		interrupt(&connection, unique);
		answer = connection_receive(&connection);
		CHECK(answer->unique == unique && answer->error == -EINTR);
	}
	close_slow(&connection);
}

TEST(loop_interrupts_that_one_only)
{
	struct connection connection;
	uint64_t first, second;

	open_slow(&connection);
	first = send_slow(&connection, FUSE_WRITE);
	second = send_slow(&connection, FUSE_WRITE);
	interrupt(&connection, second);
	CHECK(connection_receive(&connection)->unique == second);
	interrupt(&connection, second);		/* answered already */
	interrupt(&connection, 123456);		/* never heard of */
	check_answers(&connection);
	let_go(1);
	CHECK(connection_receive(&connection)->unique == first);
	close_slow(&connection);
}

TEST(loop_ends_with_the_connection_and_its_last_request)
{
	struct connection connection;

	open_slow(&connection);
	send_slow(&connection, FUSE_WRITE);
	check_answers(&connection);
	CHECK(shutdown(connection.kernel, SHUT_RDWR) == 0);
	loop_wait_for_end(connection.mirror);
	let_go(1);
	close_slow(&connection);
}

static struct {
	int gate;
	atomic_int n_others;
} masks;

/* As who makes a directory has no mask for a moment, in which a reader may be made: here until the gate opens. */
static void have_no_mask(struct request *request)
{
	mode_t mask = umask(0);
	eventfd_t one;

	masks.n_others += mask != 027;
	if (request->header->opcode == FUSE_WRITE) {
		loop_may_block(request);
		CHECK(eventfd_read(masks.gate, &one) == 0);
	}
	umask(mask);
	reply_error(request, 0);
}

TEST(loop_gives_each_worker_the_umask_of_the_process)
{
	mode_t former = umask(027);
	struct connection connection;

	masks.gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	CHECK(masks.gate >= 0);
	connection_create(&connection);
	connection.mirror->handle = have_no_mask;
	CHECK(loop_start(connection.mirror) == 0);
	for (int i = 0; i < 20; i++) {
		send_slow(&connection, FUSE_WRITE);
		CHECK(connection_ask(&connection, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, NULL, 0)->error == 0);
	}
	CHECK(eventfd_write(masks.gate, 20) == 0);
	receive_all(&connection, 20);
	connection_close(&connection);
	close(masks.gate);
	CHECK(masks.n_others == 0 && umask(former) == 027);
}
