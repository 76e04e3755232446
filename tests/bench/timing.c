/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does one operation many times and says how long it took: the clockwork of the benchmark.
 *
 *   timing THREADS OPERATION COUNT ROOT PATH [ARGUMENT]
 *
 * Each thread does OPERATION on PATH, COUNT times; "%d" in PATH is the number of the time, from 0. PATH is relative to
 * ROOT, which is entered first: so it makes no difference how many directories and mounts are above ROOT.
 * Prints two numbers of nanoseconds, for everything together: the time from the first begin to the last end, and the CPU
 * time of the threads. One operation on a directory (readdir, ls -l, walk) is one whole pass over it, however many
 * entries it has. Each operation is one row of the table near the end.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "cgfs.h"

#define MAX_CHILDREN 64

struct subject {
	const char *path;
	const char *argument;	/* NULL where none was given */
	long number;		/* how many times it was done before */
	int fd;			/* what prepare opened */
	int prog_fd;
	pid_t children[MAX_CHILDREN];	/* that wait, each on a CPU of its own */
	int n_children;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		err(1, "open %s", path);
	return fd;
}

static void write_or_die(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		err(1, "write %s", text);
}

/* --- one file ---------------------------------------------------------------------------------------------------- */

static void open_read_close(const struct subject *subject)
{
	char buffer[4096];
	int fd = open_or_die(subject->path, O_RDONLY);

	if (read(fd, buffer, sizeof(buffer)) < 0)
		err(1, "read %s", subject->path);
	close(fd);
}

static void prepare_read(struct subject *subject)
{
	subject->fd = open_or_die(subject->path, O_RDONLY);
}

static void pread_open_file(const struct subject *subject)
{
	char buffer[4096];

	if (pread(subject->fd, buffer, sizeof(buffer), 0) < 0)
		err(1, "pread %s", subject->path);
}

static void stat_path(const struct subject *subject)
{
	struct stat st;

	if (stat(subject->path, &st))
		err(1, "stat %s", subject->path);
}

static void write_setting(const struct subject *subject)
{
	int fd = open_or_die(subject->path, O_WRONLY);

	write_or_die(fd, subject->argument);
	close(fd);
}

/* --- directories ------------------------------------------------------------------------------------------------- */

static DIR *opendir_or_die(const char *path)
{
	DIR *directory = opendir(path);

	if (!directory)
		err(1, "opendir %s", path);
	return directory;
}

static void read_directory(const struct subject *subject)
{
	DIR *directory = opendir_or_die(subject->path);

	while (readdir(directory))
		;
	closedir(directory);
}

/*
 * The system calls of `ls -l` (coreutils 9.1): of each entry statx, the security label and whether it has an ACL.
 * An attribute that is EOPNOTSUPP once is not asked for again; on cgroup2 that is the ACL's.
 */
static void list_long(const struct subject *subject)
{
	static const char *const attributes[] = {"security.selinux", "system.posix_acl_access"};
	bool unsupported[2] = {false, false};
	const unsigned int mask = STATX_MODE | STATX_NLINK | STATX_UID | STATX_GID | STATX_MTIME | STATX_SIZE;
	DIR *directory = opendir_or_die(subject->path);
	struct dirent *entry;
	char name[4096], value[256];
	struct statx st;

	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", subject->path, entry->d_name);
		if (statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, mask, &st))
			err(1, "statx %s", name);
		for (int i = 0; i < 2; i++)
			if (!unsupported[i] && lgetxattr(name, attributes[i], value, sizeof(value)) < 0)
				unsupported[i] = errno == EOPNOTSUPP;
	}
	closedir(directory);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)path, (void)st, (void)type, (void)where;
	return 0;
}

static void walk(const struct subject *subject)
{
	if (nftw(subject->path, visit, 64, FTW_PHYS))
		err(1, "walk %s", subject->path);
}

static void mkdir_rmdir(const struct subject *subject)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/cgfs-made", subject->path);
	if (mkdir(name, 0755) || rmdir(name))
		err(1, "mkdir or rmdir %s", name);
}

/* To PATH/ARGUMENT and to PATH in turn: each write is a real migration. */
static void move(const struct subject *subject, pid_t process, bool back)
{
	char name[4096], pid[32];

	snprintf(pid, sizeof(pid), "%d", process);
	snprintf(name, sizeof(name), "%s/%s/cgroup.procs", subject->path, back ? "." : subject->argument);
	write_setting(&(struct subject){.path = name, .argument = pid});
}

/* All threads are moved, and the kernel calls the CPU on which each was last: there is one only. */
static void move_itself(const struct subject *subject)
{
	move(subject, getpid(), subject->number % 2);
}

/* One on each CPU, for the same reason, as far as MAX_CHILDREN goes. */
static void prepare_children(struct subject *subject)
{
	cpu_set_t allowed, one;
	pid_t parent = getpid();

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		err(1, "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE && subject->n_children < MAX_CHILDREN; cpu++) {
		pid_t child = CPU_ISSET(cpu, &allowed) ? fork() : 0;

		if (!CPU_ISSET(cpu, &allowed))
			continue;
		if (child < 0)
			err(1, "fork");
		if (!child) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			raise(SIGSTOP);
			_exit(1);
		}
		subject->children[subject->n_children++] = child;
		if (waitpid(child, NULL, WUNTRACED) < 0)
			err(1, "waitpid");
	}
}

static void end_children(const struct subject *subject)
{
	for (int i = 0; i < subject->n_children; i++) {
		kill(subject->children[i], SIGKILL);
		waitpid(subject->children[i], NULL, 0);
	}
}

static void move_child(const struct subject *subject)
{
	move(subject, subject->children[subject->number % subject->n_children], subject->number / subject->n_children % 2);
}

/* --- filters ----------------------------------------------------------------------------------------------------- */

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void prepare_program(struct subject *subject)
{
	struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
		.insns = (uintptr_t)allow,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL",
		.expected_attach_type = BPF_CGROUP_INET_EGRESS,
	};

	subject->prog_fd = bpf(BPF_PROG_LOAD, &attr);
	if (subject->prog_fd < 0)
		err(1, "BPF_PROG_LOAD");
}

static void attach_and_detach_by_file(const struct subject *subject)
{
	struct cgfs_attach request = {.prog_fd = subject->prog_fd};
	int fd = open_or_die(subject->path, O_WRONLY);

	if (ioctl(fd, CGFS_IOC_ATTACH, &request))
		err(1, "CGFS_IOC_ATTACH on %s", subject->path);
	write_or_die(fd, "none");
	close(fd);
}

static void attach_and_detach_by_bpf(const struct subject *subject)
{
	int fd = open_or_die(subject->path, O_RDONLY | O_DIRECTORY);
	union bpf_attr attr = {
		.target_fd = fd,
		.attach_bpf_fd = subject->prog_fd,
		.attach_type = BPF_CGROUP_INET_EGRESS,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};

	if (bpf(BPF_PROG_ATTACH, &attr))
		err(1, "BPF_PROG_ATTACH on %s", subject->path);
	attr.attach_flags = 0;
	if (bpf(BPF_PROG_DETACH, &attr))
		err(1, "BPF_PROG_DETACH on %s", subject->path);
	close(fd);
}

/* --- the table, and the loop -------------------------------------------------------------------------------------- */

struct operation {
	const char *name;
	void (*once)(const struct subject *subject);
	void (*prepare)(struct subject *subject);
	void (*finish)(const struct subject *subject);
	bool alone;		/* in the first thread, and there is no other */
};

static const struct operation operations[] = {
	{.name = "open-read-close", .once = open_read_close},
	{.name = "pread", .once = pread_open_file, .prepare = prepare_read},
	{.name = "stat", .once = stat_path},
	{.name = "write", .once = write_setting},
	{.name = "readdir", .once = read_directory},
	{.name = "ls-l", .once = list_long},
	{.name = "walk", .once = walk},
	{.name = "mkdir-rmdir", .once = mkdir_rmdir},
	{.name = "move-itself", .once = move_itself, .alone = true},
	{.name = "move-child", .once = move_child, .prepare = prepare_children, .finish = end_children},
	{.name = "attach-file", .once = attach_and_detach_by_file, .prepare = prepare_program},
	{.name = "attach-bpf", .once = attach_and_detach_by_bpf, .prepare = prepare_program},
};

struct run {
	const struct operation *operation;
	struct subject subject;
	long count;
	pthread_barrier_t *start;
	uint64_t begin_ns, end_ns, cpu_ns;	/* written by its thread, read when that has ended */
};

static void do_once(struct run *run)
{
	struct subject subject = run->subject;
	const char *mark = strstr(subject.path, "%d");
	char name[4096];

	if (mark) {
		int before = mark - subject.path;

		snprintf(name, sizeof(name), "%.*s%ld%s", before, subject.path, subject.number, mark + 2);
		subject.path = name;
	}
	run->operation->once(&subject);
}

static void *run_thread(void *argument)
{
	struct run *run = argument;
	uint64_t cpu_ns;

	if (run->operation->prepare)
		run->operation->prepare(&run->subject);
	pthread_barrier_wait(run->start);
	cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	run->begin_ns = now_ns(CLOCK_MONOTONIC);
	for (run->subject.number = 0; run->subject.number < run->count; run->subject.number++)
		do_once(run);
	run->end_ns = now_ns(CLOCK_MONOTONIC);
	run->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	if (run->operation->finish)
		run->operation->finish(&run->subject);
	return NULL;
}

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	errx(2, "no operation is named %s", name);
}

int main(int argc, char **argv)
{
	int threads = argc < 6 ? 0 : atoi(argv[1]);
	uint64_t begin_ns = UINT64_MAX, end_ns = 0, cpu_ns = 0;
	pthread_barrier_t start;
	pthread_t ids[64];
	struct run runs[64];

	if (threads < 1 || threads > 64)
		errx(2, "usage: timing THREADS OPERATION COUNT ROOT PATH [ARGUMENT], with 1 to 64 threads");
	if (chdir(argv[4]))
		err(1, "chdir %s", argv[4]);
	pthread_barrier_init(&start, NULL, threads);
	for (int i = 0; i < threads; i++) {
		runs[i] = (struct run){
			.operation = find_operation(argv[2]),
			.count = atol(argv[3]),
			.subject = {.path = argv[5], .argument = argv[6], .fd = -1, .prog_fd = -1},
			.start = &start,
		};
		if (runs[i].operation->alone && threads > 1)
			errx(2, "%s is for one thread", argv[2]);
		if (runs[i].operation->alone)
			run_thread(&runs[i]);
		else if (pthread_create(&ids[i], NULL, run_thread, &runs[i]))
			errx(1, "pthread_create failed");
	}
	for (int i = 0; i < threads; i++) {
		if (!runs[i].operation->alone)
			pthread_join(ids[i], NULL);
		begin_ns = runs[i].begin_ns < begin_ns ? runs[i].begin_ns : begin_ns;
		end_ns = runs[i].end_ns > end_ns ? runs[i].end_ns : end_ns;
		cpu_ns += runs[i].cpu_ns;
	}
	printf("%llu %llu\n", (unsigned long long)(end_ns - begin_ns), (unsigned long long)cpu_ns);
	return 0;
}
