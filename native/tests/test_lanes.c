/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errands wait for those of their own directory, and for nothing else; what waits is bounded, and the end always comes. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "mirror/lanes.h"
#include "mirror/monotonic.h"
#include "test.h"

#define NOBODY_ELSE 4000123	/* as a uid */

enum { PLAIN, HELD };	/* what an errand does: look for a descriptor, or wait until the test lets one go */

static int gate, other;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	char order[16384];	/* the texts of the errands of node 1 */
	int n_done, n_held, n_inside;	/* the last: in node 1 */
	bool met;		/* there were two at a time */
} seen;

static void perform(struct cgfs_mirror *mirror, const struct errand *errand)
{
	eventfd_t one;

	(void)mirror;
	pthread_mutex_lock(&lock);
	if (errand->node == 1) {
		seen.met |= ++seen.n_inside > 1;
		strcat(seen.order, errand->text);
	}
	seen.n_held += errand->what == HELD;
	pthread_mutex_unlock(&lock);
	if (errand->what == HELD)
		CHECK(eventfd_read(gate, &one) == 0);
	else
		CHECK(fcntl(other, F_GETFD) < 0 && errno == EBADF && fcntl(gate, F_GETFD) >= 0);
	pthread_mutex_lock(&lock);
	seen.n_done++;
	seen.n_inside -= errand->node == 1;
	seen.n_held -= errand->what == HELD;
	pthread_mutex_unlock(&lock);
}

static struct lanes *start(void)
{
	struct lanes *lanes;
	int fds[2];

	memset(&seen, 0, sizeof(seen));
	gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	other = eventfd(0, EFD_CLOEXEC);	/* which is not given to the lanes */
	CHECK(gate >= 0 && other >= 0);
	fds[0] = fds[1] = gate;
	CHECK(lanes_start(NULL, perform, fds, &lanes) == 0);
	return lanes;
}

static void stop(struct lanes *lanes)
{
	struct timespec deadline = after_ms(30000);

	CHECK(eventfd_write(gate, 1000) == 0);
	CHECK(lanes_end(lanes, &deadline));
	lanes_free(lanes);
	CHECK(close(gate) == 0 && close(other) == 0);
}

static void wait_for(const int *count, int wanted)
{
	struct timespec deadline = after_ms(30000);
	bool reached = false;

	while (!reached) {
		CHECK(!is_past(&deadline));
		poll(NULL, 0, 1);
		pthread_mutex_lock(&lock);
		reached = *count == wanted;
		pthread_mutex_unlock(&lock);
	}
}

static void flush(struct lanes *lanes)
{
	struct timespec deadline = after_ms(30000);

	lanes_flush(lanes, &deadline);
	CHECK(!is_past(&deadline));
}

static int n_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = -2;	/* . and .. */

	CHECK(tasks);
	while (readdir(tasks))
		n++;
	closedir(tasks);
	return n;
}

TEST(lanes_that_are_held_hold_up_no_other)
{
	struct lanes *lanes = start();

	for (uint64_t node = 100; node < 150; node++)
		CHECK(lanes_add(lanes, HELD, node, "", 0, true));
	for (uint64_t node = 200; node < 400; node++)
		CHECK(lanes_add(lanes, PLAIN, node, "", 0, true));
	wait_for(&seen.n_done, 200);
	wait_for(&seen.n_held, 50);
	stop(lanes);
}

TEST(lanes_that_are_held_again_and_again_hold_up_no_other)
{
	struct lanes *lanes = start();
	struct timespec deadline = after_ms(30000);

	for (int i = 0; i < 4000; i++)
		CHECK(lanes_add(lanes, HELD, 100, "x", 0, false));
	CHECK(lanes_add(lanes, PLAIN, 1, "y", 0, true));
	while (!*seen.order) {
		CHECK(!is_past(&deadline) && eventfd_write(gate, 1) == 0);
		poll(NULL, 0, 5);
	}
	CHECK(eventfd_write(gate, 4000) == 0);
	stop(lanes);
}

TEST(lanes_are_run_in_order_by_one_thread_at_a_time)
{
	struct lanes *lanes = start();

	CHECK(lanes_add(lanes, HELD, 1, "a", 0, true));
	wait_for(&seen.n_held, 1);
	CHECK(lanes_add(lanes, HELD, 1, "b", 0, true) && lanes_add(lanes, PLAIN, 1, "c", 0, true));
	for (uint64_t node = 2; node < 20; node++)
		CHECK(lanes_add(lanes, HELD, node, "", 0, true));
	wait_for(&seen.n_held, 19);
	CHECK(lanes_add(lanes, PLAIN, 1, "d", 0, true));
	CHECK(eventfd_write(gate, 1000) == 0);
	wait_for(&seen.n_done, 22);
	CHECK(strcmp(seen.order, "abcd") == 0 && !seen.met);
	stop(lanes);
}

TEST(lanes_that_are_held_by_too_many_go_on_when_one_is_given_back)
{
	struct lanes *lanes = start();

	for (uint64_t node = 100; node < 164; node++)
		CHECK(lanes_add(lanes, HELD, node, "", 0, true));
	wait_for(&seen.n_held, 64);
	CHECK(lanes_add(lanes, PLAIN, 1, "", 0, true));
	flush(lanes);
	CHECK(eventfd_write(gate, 1) == 0);
	wait_for(&seen.n_done, 2);
	stop(lanes);
}

TEST(lanes_take_what_is_the_same_once_and_no_more_than_there_is_room_for)
{
	struct lanes *lanes = start();
	int taken = 0;

	CHECK(lanes_add(lanes, HELD, 1, "", 0, true));
	wait_for(&seen.n_held, 1);
	for (int i = 0; i < 100000; i++)
		CHECK(lanes_add(lanes, PLAIN, 1, "", 0, true));
	for (int i = 0; i < 100000; i++)
		taken += lanes_add(lanes, PLAIN, 1, "x", 0, false);
	CHECK(taken > 1000 && taken < 10000);
	CHECK(lanes_add(lanes, HELD, 1, "", 0, true));
	CHECK(lanes_add(lanes, PLAIN, 2, "elsewhere", 0, false));
	CHECK(eventfd_write(gate, 2) == 0);
	wait_for(&seen.n_done, 1 + 1 + taken + 1 + 1);
	stop(lanes);
}

TEST(lanes_have_room_for_a_bounded_number_of_errands_in_all)
{
	struct lanes *lanes = start();
	int taken = 0;

	for (uint64_t node = 100; node < 164; node++)
		CHECK(lanes_add(lanes, HELD, node, "", 0, true));
	wait_for(&seen.n_held, 64);
	for (uint64_t node = 100; node < 164; node++) {
		for (int i = 0; i < 2000; i++)
			taken += lanes_add(lanes, PLAIN, node, "x", 0, false);
	}
	CHECK(taken > 10000 && taken < 100000);
	CHECK(!lanes_add(lanes, PLAIN, 163, "x", 0, false));
	CHECK(lanes_add(lanes, PLAIN, 1000, "x", 0, false));	/* nobody is there */
	stop(lanes);
}

TEST(lanes_that_are_flushed_have_done_what_was_added_but_where_they_are_held)
{
	struct lanes *lanes = start();

	CHECK(lanes_add(lanes, HELD, 100, "", 0, true));
	wait_for(&seen.n_held, 1);
	CHECK(lanes_add(lanes, PLAIN, 100, "", 0, true));
	for (uint64_t node = 200; node < 1000; node++)
		CHECK(lanes_add(lanes, PLAIN, node, "", 0, true));
	flush(lanes);
	CHECK(seen.n_done == 800);
	stop(lanes);
}

TEST(lanes_need_one_thread_when_nothing_is_held)
{
	struct lanes *lanes = start();
	struct timespec deadline = after_ms(30000);
	int usual;

	CHECK(lanes_add(lanes, PLAIN, 1, "", 0, true));
	wait_for(&seen.n_done, 1);
	usual = n_threads();
	for (uint64_t node = 100; node < 120; node++)
		CHECK(lanes_add(lanes, HELD, node, "", 0, true));
	wait_for(&seen.n_held, 20);
	CHECK(n_threads() >= usual + 19);
	CHECK(eventfd_write(gate, 20) == 0);
	while (n_threads() > usual) {
		CHECK(!is_past(&deadline));
		poll(NULL, 0, 1);
	}
	stop(lanes);
}

TEST(lanes_end_while_one_is_held)
{
	static struct lanes *lanes;	/* what is left behind is not lost */
	struct timespec deadline = after_ms(50);

	lanes = start();
	CHECK(lanes_add(lanes, HELD, 100, "", 0, true));
	wait_for(&seen.n_held, 1);
	CHECK(lanes_add(lanes, HELD, 100, "never done", 0, true));
	CHECK(!lanes_end(lanes, &deadline));
	CHECK(!lanes_add(lanes, PLAIN, 200, "", 0, true));
	CHECK(eventfd_write(gate, 1) == 0);
	wait_for(&seen.n_done, 1);
}

/* As a user who may have two threads: this one, and the one that makes the others. */
static void add_while_no_thread_can_be_had(void)
{
	struct rlimit limit;
	struct lanes *lanes;

	CHECK(getrlimit(RLIMIT_NPROC, &limit) == 0);
	limit.rlim_cur = 2;
	CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
	CHECK(setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE) == 0);
	lanes = start();
	CHECK(lanes_add(lanes, PLAIN, 1, "x", 0, true));
	poll(NULL, 0, 100);	/* for it to try, and to fail */
	CHECK(lanes_add(lanes, PLAIN, 1, "y", 0, true));
	CHECK(seen.n_done == 0);
	limit.rlim_cur = limit.rlim_max;
	CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
	wait_for(&seen.n_done, 2);
	CHECK(strcmp(seen.order, "xy") == 0);
	stop(lanes);
}

TEST(lanes_wait_for_a_thread_that_cannot_be_had)
{
	struct child child = child_start(add_while_no_thread_can_be_had);

	child_end(&child);
}
