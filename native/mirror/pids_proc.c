/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pids of other namespaces by /proc, for kernels whose namespaces do not translate them (before 6.11).
 *
 * A task has a number in its own namespace and in each above it; the line NSpid of /proc/PID/status has them all, the
 * innermost last, and NS_GET_PARENT says which namespaces those are. The other way round, all tasks are asked.
 *
 * Sources: proc_pid_status(5), ioctl_nsfs(2).
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "identity.h"
#include "pids.h"

#define MAX_DEPTH 33	/* MAX_PID_NS_LEVEL, and the initial namespace */

/* The numbers of a task, from our namespace's to that of its own. Returns how many. */
static int numbers_of(int32_t pid, int32_t numbers[MAX_DEPTH])
{
	char path[32], line[512];
	int n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		char *at = line + strlen("NSpid:"), *end;

		if (strncmp(line, "NSpid:", strlen("NSpid:")) != 0)
			continue;
		for (; n < MAX_DEPTH; at = end, n++) {
			numbers[n] = (int32_t)strtol(at, &end, 10);
			if (end == at)
				break;
		}
		break;
	}
	fclose(file);
	return n;
}

/* How far above the task's own namespace the wanted one is, or -1. */
static int levels_up(int32_t pid, uint64_t wanted)
{
	int fd = namespace_open((uint32_t)pid, "pid"), up = 0;

	while (fd >= 0 && namespace_fd_id(fd) != wanted) {
		int parent = ioctl(fd, NS_GET_PARENT);	/* EPERM above our own */

		close(fd);
		fd = parent;
		up++;
	}
	if (fd < 0)
		return -1;
	close(fd);
	return up;
}

int pid_in_namespace_by_proc(int pidns_fd, int32_t pid)
{
	int32_t numbers[MAX_DEPTH];
	int n = numbers_of(pid, numbers), up = levels_up(pid, namespace_fd_id(pidns_fd));

	return up >= 0 && up < n ? numbers[n - 1 - up] : -ESRCH;
}

static int find_task(int pidns_fd, int32_t wanted, const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	int found = -ESRCH;

	if (!dir)
		return -ESRCH;
	while (found < 0 && (entry = readdir(dir))) {
		int32_t pid = (int32_t)strtol(entry->d_name, NULL, 10);

		if (pid && pid_in_namespace_by_proc(pidns_fd, pid) == wanted)
			found = pid;
	}
	closedir(dir);
	return found;
}

/* Processes first: a thread that is not the first of its process is rarely meant. */
int pid_from_namespace_by_proc(int pidns_fd, int32_t wanted)
{
	DIR *dir;
	const struct dirent *entry;
	int found = find_task(pidns_fd, wanted, "/proc");

	if (found > 0)
		return found;
	dir = opendir("/proc");
	while (dir && found < 0 && (entry = readdir(dir))) {
		char path[sizeof("/proc//task") + sizeof(entry->d_name)];

		if (!strtol(entry->d_name, NULL, 10))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", entry->d_name);
		found = find_task(pidns_fd, wanted, path);
	}
	if (dir)
		closedir(dir);
	return found;
}
