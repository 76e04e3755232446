/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who asks again and again is followed, for as long as that is of use to him and does no harm to others. */
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

#include "mirror/monotonic.h"
#include "slow.h"
#include "test.h"

static DIR *open_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");

	CHECK(tasks);
	return tasks;
}

/* The next one but for this one; 0 at the end. */
static pid_t next_thread(DIR *tasks)
{
	struct dirent *task;
	pid_t tid = 0;

	while ((task = readdir(tasks)) && (!(tid = atoi(task->d_name)) || tid == gettid()))
		;
	return task ? tid : 0;
}

/* The threads that are SCHED_IDLE: those that follow. Says which CPUs the last of them is bound to. */
static int followers(cpu_set_t *bound_to)
{
	DIR *tasks = open_threads();
	int count = 0;
	pid_t tid;

	while ((tid = next_thread(tasks))) {
		if (sched_getscheduler(tid) == SCHED_IDLE) {
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
	DIR *tasks = open_threads();
	cpu_set_t bound_to;
	pid_t tid;

	while ((tid = next_thread(tasks))) {
		CHECK(sched_getscheduler(tid) != SCHED_IDLE);
		CHECK(sched_getaffinity(tid, sizeof(bound_to), &bound_to) == 0 && CPU_EQUAL(&bound_to, usual));
	}
	closedir(tasks);
}

static int first_of(const cpu_set_t *cpus)
{
	int cpu = 0;

	while (!CPU_ISSET(cpu, cpus))
		cpu++;
	return cpu;
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
	int cpu;

	open_slow(connection);
	CHECK(sched_getaffinity(0, sizeof(*usual), usual) == 0);
	cpu = first_of(usual);
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

/* To any CPU but the first, if there is another. */
TEST(loop_follows_nobody_to_where_it_may_not_go)
{
	cpu_set_t usual, first, others;
	struct connection connection;
	int cpu;

	CHECK(sched_getaffinity(0, sizeof(usual), &usual) == 0);
	cpu = first_of(&usual);
	CPU_ZERO(&first);
	CPU_SET(cpu, &first);
	others = usual;
	if (CPU_COUNT(&usual) > 1)
		CPU_CLR(cpu, &others);
	CHECK(sched_setaffinity(0, sizeof(first), &first) == 0);
	open_slow(&connection);
	CHECK(sched_setaffinity(0, sizeof(others), &others) == 0);
	for (int i = 0; CPU_COUNT(&usual) > 1 && i < 2000; i++) {
		check_answers(&connection);
		if (i % 100 == 0)
			check_nobody_follows(&first);
	}
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
