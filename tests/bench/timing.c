/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does one operation many times and says how long it took: the clockwork of the benchmark.
 *
 *   timing OPERATION COUNT PATH [ARGUMENT]
 *
 * prints the nanoseconds that COUNT operations took on PATH. A tree operation (walk, ls) counts one for each entry
 * that it visits, so that trees of a mirror, which has more files, compare by the time of a whole pass: it prints
 * the time of one pass. Each operation is one row of the table at the end.
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cgfs.h"

struct subject {
	const char *path;
	const char *argument;	/* NULL where none was given */
	int fd;			/* what prepare opened */
	int prog_fd;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
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

static void list(const struct subject *subject, bool with_stat)
{
	DIR *directory = opendir(subject->path);
	struct dirent *entry;
	struct stat st;

	if (!directory)
		err(1, "opendir %s", subject->path);
	while ((entry = readdir(directory)))
		if (with_stat && fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			err(1, "stat %s/%s", subject->path, entry->d_name);
	closedir(directory);
}

static void read_directory(const struct subject *subject)
{
	list(subject, false);
}

static void list_long(const struct subject *subject)
{
	list(subject, true);
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

/* stat of each cgroup below, by name: what a monitoring agent's cold start does. */
static void stat_children(const struct subject *subject)
{
	char name[4096];
	struct stat st;

	for (int i = 0; i < atoi(subject->argument); i++) {
		snprintf(name, sizeof(name), "%s/cgfs-%d", subject->path, i);
		if (stat(name, &st))
			err(1, "stat %s", name);
	}
}

static void mkdir_rmdir(const struct subject *subject)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/cgfs-made", subject->path);
	if (mkdir(name, 0755) || rmdir(name))
		err(1, "mkdir or rmdir %s", name);
}

/* The writer itself moves to and fro between PATH and PATH/ARGUMENT: each write is a real migration. */
static void move_to_and_fro(const struct subject *subject)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/%s/cgroup.procs", subject->path, subject->argument);
	write_setting(&(struct subject){.path = name, .argument = "0"});
	snprintf(name, sizeof(name), "%s/cgroup.procs", subject->path);
	write_setting(&(struct subject){.path = name, .argument = "0"});
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
};

static const struct operation operations[] = {
	{"open-read-close", open_read_close, NULL},
	{"pread", pread_open_file, prepare_read},
	{"stat", stat_path, NULL},
	{"write", write_setting, NULL},
	{"readdir", read_directory, NULL},
	{"ls-l", list_long, NULL},
	{"walk", walk, NULL},
	{"stat-children", stat_children, NULL},
	{"mkdir-rmdir", mkdir_rmdir, NULL},
	{"move", move_to_and_fro, NULL},
	{"attach-file", attach_and_detach_by_file, prepare_program},
	{"attach-bpf", attach_and_detach_by_bpf, prepare_program},
};

struct run {
	const struct operation *operation;
	struct subject subject;
	long count;
	pthread_barrier_t *start;
};

static void *run_thread(void *argument)
{
	struct run *run = argument;

	if (run->operation->prepare)
		run->operation->prepare(&run->subject);
	pthread_barrier_wait(run->start);
	for (long i = 0; i < run->count; i++)
		run->operation->once(&run->subject);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *threads_text = getenv("TIMING_THREADS");
	int threads = threads_text ? atoi(threads_text) : 1;
	pthread_t ids[64];
	struct run run = {0};
	pthread_barrier_t start;
	uint64_t begin;

	if (argc < 4 || threads < 1 || threads > 64)
		errx(2, "usage: [TIMING_THREADS=1..64] timing OPERATION COUNT PATH [ARGUMENT]");
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (!strcmp(operations[i].name, argv[1]))
			run.operation = &operations[i];
	if (!run.operation)
		errx(2, "no operation is named %s", argv[1]);
	run.count = atol(argv[2]);
	run.subject = (struct subject){.path = argv[3], .argument = argv[4], .fd = -1, .prog_fd = -1};
	pthread_barrier_init(&start, NULL, threads + 1);
	run.start = &start;
	struct run runs[64];
	for (int i = 0; i < threads; i++) {
		runs[i] = run;
		if (pthread_create(&ids[i], NULL, run_thread, &runs[i]))
			errx(1, "pthread_create failed");
	}
	pthread_barrier_wait(&start);
	begin = now_ns();
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("%llu\n", (unsigned long long)(now_ns() - begin));
	return 0;
}
