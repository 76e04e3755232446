/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that wait hold up nobody, are answered when what they wait for comes, and can be interrupted. Who asks again and
 * again is followed.
 */
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "connection.h"
#include "mirror/monotonic.h"
#include "test.h"

/* FUSE_WRITE waits here until the test lets one go, the way a write to a cgroup file may; FUSE_STATFS does so too, and the
 * lookup of SLOW_NAME, but they do not say before that they may wait. */
static int gate;

#define SLOW_NAME "slow"

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

static void open_slow(struct connection *connection)
{
	gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	CHECK(gate >= 0);
	connection_create(connection);
	connection->mirror->handle = handle_slowly;
	CHECK(loop_start(connection->mirror) == 0);
}

static void close_slow(struct connection *connection)
{
	connection_close(connection);
	close(gate);
}

static uint64_t send_slow(struct connection *connection, uint32_t opcode)
{
	return connection_send(connection, opcode, FUSE_ROOT_ID, NULL, 0, NULL, 0);
}

static void let_go(int count)
{
	CHECK(eventfd_write(gate, (eventfd_t)count) == 0);
}

static void interrupt(struct connection *connection, uint64_t unique)
{
	const struct fuse_interrupt_in in = { .unique = unique };

	connection_send(connection, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
}

static void check_answers(struct connection *connection)
{
	const struct fuse_getattr_in in = {};

	CHECK(connection_ask(connection, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0)->error == 0);
}

static void check_answers_of(struct connection *connection, uint32_t uid)
{
	uint32_t before = connection->uid;

	connection->uid = uid;
	check_answers(connection);
	connection->uid = before;
}

static void receive_all(struct connection *connection, int count)
{
	for (int i = 0; i < count; i++)
		CHECK(connection_receive(connection)->error == 0);
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

/* --- following ------------------------------------------------------------------------------------------------------ */

/* The threads that are SCHED_IDLE: those that follow. Says which CPUs the last of them is bound to. */
static int followers(cpu_set_t *bound_to)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	int count = 0;

	CHECK(tasks);
	while ((task = readdir(tasks))) {
		pid_t tid = atoi(task->d_name);

		if (tid && sched_getscheduler(tid) == SCHED_IDLE) {
			CHECK(sched_getaffinity(tid, sizeof(*bound_to), bound_to) == 0);
			count++;
		}
	}
	closedir(tasks);
	return count;
}

/* All threads are bound to what this one was bound to when the connection was opened. */
static void check_nobody_follows(const cpu_set_t *usual)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	cpu_set_t bound_to;

	CHECK(tasks);
	while ((task = readdir(tasks))) {
		pid_t tid = atoi(task->d_name);

		if (!tid || tid == gettid())
			continue;
		CHECK(sched_getscheduler(tid) != SCHED_IDLE);
		CHECK(sched_getaffinity(tid, sizeof(bound_to), &bound_to) == 0 && CPU_EQUAL(&bound_to, usual));
	}
	closedir(tasks);
}

/* Ask until this thread is followed, to this CPU. On a busy machine it may seem to pause, again and again. */
static void be_followed(struct connection *connection, int cpu)
{
	struct timespec until = after_ms(30000);
	cpu_set_t here, bound_to;

	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	CHECK(sched_setaffinity(0, sizeof(here), &here) == 0);
	do {
		CHECK(!is_past(&until));
		for (int i = 0; i < 1000; i++)
			check_answers(connection);
	} while (followers(&bound_to) != 1 || !CPU_EQUAL(&bound_to, &here));
}

static int open_and_be_followed(struct connection *connection, cpu_set_t *usual)
{
	int cpu = 0;

	open_slow(connection);
	CHECK(sched_getaffinity(0, sizeof(*usual), usual) == 0);
	while (!CPU_ISSET(cpu, usual))
		cpu++;
	be_followed(connection, cpu);
	return cpu;
}

static void close_followed(struct connection *connection, const cpu_set_t *usual)
{
	CHECK(sched_setaffinity(0, sizeof(*usual), usual) == 0);
	close_slow(connection);
}

TEST(loop_follows_who_asks_again_and_again_from_cpu_to_cpu)
{
	struct connection connection;
	cpu_set_t usual;
	int first = open_and_be_followed(&connection, &usual);

	for (int cpu = first + 1; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &usual))
			be_followed(&connection, cpu);
	}
	be_followed(&connection, first);
	close_followed(&connection, &usual);
}

TEST(loop_follows_nobody_where_others_ask_as_much)
{
	struct connection connection;
	cpu_set_t usual;

	open_and_be_followed(&connection, &usual);
	for (int i = 0; i < 200; i++) {
		connection.tid = i % 2 ? (uint32_t)getppid() : 0;
		check_answers(&connection);
	}
	check_nobody_follows(&usual);
	close_followed(&connection, &usual);
}

TEST(loop_follows_nobody_who_pauses)
{
	struct timespec until = after_ms(30000);
	struct connection connection;
	cpu_set_t usual, bound_to;

	open_and_be_followed(&connection, &usual);
	while (followers(&bound_to)) {
		CHECK(!is_past(&until));
		poll(NULL, 0, 10);
	}
	check_nobody_follows(&usual);
	check_answers(&connection);
	close_followed(&connection, &usual);
}

TEST(loop_follows_nobody_whose_request_may_wait)
{
	struct connection connection;
	cpu_set_t usual;

	open_and_be_followed(&connection, &usual);
	send_slow(&connection, FUSE_WRITE);
	check_answers(&connection);
	check_nobody_follows(&usual);
	let_go(1);
	receive_all(&connection, 1);
	close_followed(&connection, &usual);
}

TEST(loop_follows_nobody_for_a_while_after_others_had_to_wait)
{
	struct connection connection;
	unsigned int n_readers;
	cpu_set_t usual;

	open_and_be_followed(&connection, &usual);
	n_readers = connection.mirror->n_readers;
	for (unsigned int i = 0; i < n_readers; i++)
		send_slow(&connection, FUSE_STATFS);
	check_answers(&connection);
	let_go(n_readers);
	receive_all(&connection, n_readers);
	for (int i = 0; i < 500; i++)
		check_answers(&connection);
	check_nobody_follows(&usual);
	close_followed(&connection, &usual);
}
