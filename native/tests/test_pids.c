/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pids written and read, by callers in the daemon's PID namespace and in another. */
#include "mirror/identity.h"
#include "mirror/pids.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "child.h"
#include "test.h"

static void writes_as(const char *text, size_t size, uint32_t tid, const char *expected)
{
	char out[PID_TEXT_SIZE];
	ssize_t length = pids_from_caller(text, size, tid, out);

	if (length != (ssize_t)strlen(expected) || memcmp(out, expected, (size_t)length)) {
		fprintf(stderr, "\"%.*s\" became \"%.*s\", not \"%s\"\n", (int)size, text, (int)length, out, expected);
		CHECK(!"the pid that is written");
	}
}

#define REFUSED "not a pid"
#define NOBODY "2147483647"

TEST(pids_written_are_read_as_the_kernel_reads_them)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "123", "123" }, { "123\n", "123" }, { " \t\r\n\v\f123 \n\n", "123" }, { "\xa0" "5", "5" },
		{ "+7", "7" }, { "0x7b", "123" }, { "0X7B", "123" }, { "0173", "123" }, { "00000000000000000000001", "1" },
		{ "0x000000000000000000000000000000001f", "31" }, { "2147483647", NOBODY },
		{ "", REFUSED }, { "\n", REFUSED }, { "1 2", REFUSED }, { "1\n2", REFUSED }, { "x", REFUSED },
		{ "12a", REFUSED }, { "0x", REFUSED }, { "0xg", REFUSED }, { "08", REFUSED }, { "0b1", REFUSED },
		{ "-1", REFUSED }, { "+-1", REFUSED }, { "-+1", REFUSED }, { "++1", REFUSED }, { "+", REFUSED },
		{ "- 1", REFUSED }, { "2147483648", REFUSED }, { "18446744073709551617", REFUSED },
		{ "99999999999999999999999999999999999999999999", REFUSED }, { "1.0", REFUSED },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		writes_as(cases[i].text, strlen(cases[i].text), getpid(), cases[i].expected);
	writes_as("12\0 34", 6, getpid(), "12");
	writes_as("\0", 1, getpid(), REFUSED);
}

TEST(pids_zero_in_every_spelling_is_the_writer_and_never_the_daemon)
{
	static const char *const zeros[] = { "0", "0\n", "00", "+0", "-0", "0x0", " 0 ", "-0x00" };

	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
		writes_as(zeros[i], strlen(zeros[i]), 4242, "4242");
}

TEST(pids_written_by_a_task_that_cannot_be_seen_are_nobodys)
{
	writes_as("0", 1, 0, NOBODY);
	writes_as("1", 1, 0, NOBODY);
	writes_as("x", 1, 0, REFUSED);
}

static void be_outside(void)
{
}

TEST(pids_of_a_process_in_our_namespace_need_no_translation)
{
	struct child child = child_start(be_outside);
	int pidns_fd;

	CHECK(pids_foreign_namespace(child.pid, &pidns_fd) == 0 && pidns_fd == -1);
	child_end(&child);
	CHECK(pids_foreign_namespace(0, &pidns_fd) == -ESRCH && pidns_fd == -1);
}

static void reads_as(const char *text, int pidns_fd, const char *expected)
{
	char *out;
	size_t size;

	CHECK(!pids_to_caller(text, strlen(text), pidns_fd, &out, &size));
	CHECK(size == strlen(expected) && !memcmp(out, expected, size));
	free(out);
}

TEST(pids_of_another_namespace_are_translated_both_ways)
{
	struct child child;
	char number[16], lines[64];
	int pidns_fd, own_pidns;

	/* The next child is the first process of a namespace of its own. */
	own_pidns = namespace_open(getpid(), "pid");
	CHECK(own_pidns >= 0 && !unshare(CLONE_NEWPID));
	child = child_start(be_outside);
	CHECK(!setns(own_pidns, CLONE_NEWPID));
	close(own_pidns);

	snprintf(number, sizeof(number), "%d", child.pid);
	writes_as("1\n", 2, child.pid, number);
	writes_as("0", 1, child.pid, number);
	writes_as("2", 1, child.pid, NOBODY);
	writes_as(number, strlen(number), child.pid, NOBODY);
	writes_as("1 1", 3, child.pid, REFUSED);

	CHECK(pids_foreign_namespace(child.pid, &pidns_fd) == 0 && pidns_fd >= 0);
	snprintf(lines, sizeof(lines), "1\n%d\n0\n%d\n", child.pid, getpid());
	reads_as(lines, pidns_fd, "0\n1\n0\n0\n");
	reads_as("", pidns_fd, "");
	reads_as(lines, -1, "0\n0\n0\n0\n");
	close(pidns_fd);
	child_end(&child);
}

TEST(pids_of_a_namespace_that_cannot_be_asked_are_an_error_and_not_nobodys)
{
	int own_pidns = namespace_open(THREAD_SELF, "pid"), pidns_fd;
	struct rlimit usual, none;
	char out[PID_TEXT_SIZE];
	struct child child;

	CHECK(own_pidns >= 0 && !unshare(CLONE_NEWPID));
	child = child_start(be_outside);
	CHECK(!setns(own_pidns, CLONE_NEWPID));
	close(own_pidns);

	CHECK(!getrlimit(RLIMIT_NOFILE, &usual));
	none = (struct rlimit){ .rlim_max = usual.rlim_max };
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK(pids_foreign_namespace(child.pid, &pidns_fd) == -EMFILE && pidns_fd < 0);
	CHECK(pids_from_caller("1", 1, child.pid, out) == -EMFILE);
	CHECK(!setrlimit(RLIMIT_NOFILE, &usual));
	child_end(&child);
}

/* --- by /proc, for older kernels ---------------------------------------------------------------------------------- */

static struct child inner;
static int own_pidns_fd;

/* In the first process of a PID namespace: start one of another inside, and say which. */
static void be_outside_of_another(void)
{
	CHECK(!unshare(CLONE_NEWPID));
	inner = child_start(be_outside);
}

static struct child start_in_namespace(void (*prepare)(void))
{
	struct child child;

	own_pidns_fd = namespace_open(getpid(), "pid");
	CHECK(own_pidns_fd >= 0 && !unshare(CLONE_NEWPID));
	child = child_start(prepare);
	CHECK(!setns(own_pidns_fd, CLONE_NEWPID));
	return child;
}

/* The pid, as we number it, of the only child of a process. */
static pid_t only_child(pid_t parent)
{
	char path[64];
	pid_t pid;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	file = fopen(path, "re");
	CHECK(file && fscanf(file, "%d", &pid) == 1);
	fclose(file);
	return pid;
}

TEST(pids_by_proc_are_those_by_the_kernel)
{
	struct child outer = start_in_namespace(be_outside_of_another);
	pid_t innermost = only_child(outer.pid);
	int outer_fd = namespace_open(outer.pid, "pid"), inner_fd = namespace_open(innermost, "pid");

	CHECK(outer_fd >= 0 && inner_fd >= 0);
	CHECK(pid_in_namespace_by_proc(outer_fd, outer.pid) == 1);
	CHECK(pid_in_namespace_by_proc(outer_fd, innermost) == 2);
	CHECK(pid_in_namespace_by_proc(inner_fd, innermost) == 1);
	CHECK(pid_in_namespace_by_proc(inner_fd, outer.pid) == -ESRCH);
	CHECK(pid_in_namespace_by_proc(outer_fd, getpid()) == -ESRCH);
	CHECK(pid_in_namespace_by_proc(own_pidns_fd, innermost) == innermost);

	CHECK(pid_from_namespace_by_proc(outer_fd, 1) == outer.pid);
	CHECK(pid_from_namespace_by_proc(outer_fd, 2) == innermost);
	CHECK(pid_from_namespace_by_proc(inner_fd, 1) == innermost);
	CHECK(pid_from_namespace_by_proc(inner_fd, 2) == -ESRCH);
	CHECK(pid_from_namespace_by_proc(outer_fd, outer.pid) == -ESRCH);
	close(outer_fd);
	close(inner_fd);
	close(own_pidns_fd);
	child_end(&outer);	/* and with it all in its namespace */
}

static atomic_bool thread_runs;

static void *run_thread(void *argument)
{
	thread_runs = true;
	pause();
	return argument;
}

static void have_a_thread(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, run_thread, NULL));
	while (!thread_runs)
		sched_yield();
}

TEST(pids_of_threads_are_found_by_proc_too)
{
	struct child child = start_in_namespace(have_a_thread);
	int pidns_fd = namespace_open(child.pid, "pid");
	int tid = pid_from_namespace_by_proc(pidns_fd, 2);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", child.pid, tid);
	CHECK(tid > 0 && tid != child.pid && access(path, F_OK) == 0);
	CHECK(pid_in_namespace_by_proc(pidns_fd, tid) == 2);
	close(pidns_fd);
	close(own_pidns_fd);
	child_end(&child);
}
