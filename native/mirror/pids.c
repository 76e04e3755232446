/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pids as the caller's PID namespace numbers them, in what is written to and read from cgroup.procs and
 * cgroup.threads by the daemon on a caller's behalf. (What the kernel passes through is right by itself.)
 *
 * A number is translated a moment before the kernel looks it up. In between it could come to mean another process only
 * if its process ended and all other numbers of the daemon's namespace were given out once meanwhile; and what may be
 * moved is decided by the opener's credentials either way.
 *
 * Sources: pid_namespaces(7), ioctl_nsfs(2); kernel cgroup_procs_write_start(), kstrtoint(), strstrip().
 */
#include <linux/nsfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "identity.h"
#include "pids.h"

/* Linux 6.11. Newer than the headers of Debian 12. Source: include/uapi/linux/nsfs.h. */
#ifndef NS_GET_PID_FROM_PIDNS
#define NS_GET_PID_FROM_PIDNS _IOR(NSIO, 0x6, int)
#define NS_GET_PID_IN_PIDNS _IOR(NSIO, 0x8, int)
#endif
_Static_assert(NS_GET_PID_FROM_PIDNS == 0x8004b706 && NS_GET_PID_IN_PIDNS == 0x8004b708, "ioctl_nsfs(2)");

/* A pid that no process can have (PID_MAX_LIMIT is 2^22): the kernel answers ESRCH, after what it checks before. */
#define NOBODY INT32_MAX
#define LONGEST_LINE sizeof("-2147483648\n")

int pids_foreign_namespace(uint32_t tid, int *pidns_fd)
{
	uint64_t id;
	int error;

	*pidns_fd = -1;
	tid = identity_visible_tid(tid);
	if (!tid)
		return -ESRCH;
	error = namespace_id(tid, "pid", &id);
	if (error || id == identity_own_namespaces()->pid)
		return error;
	*pidns_fd = namespace_open(tid, "pid");
	return *pidns_fd < 0 ? *pidns_fd : 0;
}

/* isspace() in the kernel counts Latin-1's no-break space. */
static bool is_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0;
}

static int digit_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* Take "0x" or "0" off the text, as kstrtoint() does, and say which base follows. */
static int take_base(const char **text, const char *end)
{
	if (end - *text < 1 || **text != '0')
		return 10;
	if (end - *text < 3 || ((*text)[1] | 0x20) != 'x' || digit_value((*text)[2]) >= 16)
		return 8;
	*text += 2;
	return 16;
}

/* A pid as cgroup_procs_write_start() reads it, or -1 where it would answer EINVAL. */
static int32_t parse_pid(const char *text, size_t size)
{
	const char *end = text + strnlen(text, size);
	bool negative = false;
	int64_t value = 0;
	int base;

	while (text < end && is_space(*text))
		text++;
	while (text < end && is_space(end[-1]))
		end--;
	if (text < end && (*text == '-' || *text == '+'))
		negative = *text++ == '-';
	if (text == end)
		return -1;
	base = take_base(&text, end);
	for (; text < end; text++) {
		int digit = digit_value(*text);

		value = value * base + digit;
		if (digit >= base || value > INT32_MAX)
			return -1;
	}
	return negative && value ? -1 : value;
}

/* ENOTTY: the kernel does not know the question (before 6.11). */
static int number_from(int pidns_fd, int32_t pid)
{
	int number = ioctl(pidns_fd, NS_GET_PID_FROM_PIDNS, (long)pid);

	return number < 0 && errno == ENOTTY ? pid_from_namespace_by_proc(pidns_fd, pid) : number;
}

static int number_in(int pidns_fd, int32_t pid)
{
	int number = ioctl(pidns_fd, NS_GET_PID_IN_PIDNS, (long)pid);

	return number < 0 && errno == ENOTTY ? pid_in_namespace_by_proc(pidns_fd, pid) : number;
}

/* The daemon's number for the caller's, or -errno. Without such a process, or a namespace to look in, nobody's. */
static int32_t pid_from_namespace(int32_t pid, uint32_t tid)
{
	CLEANUP_FD int pidns_fd = -1;
	int error = pids_foreign_namespace(tid, &pidns_fd);
	int number;

	if (error)
		return error == -ESRCH ? NOBODY : error;
	if (pidns_fd < 0)
		return pid;
	number = number_from(pidns_fd, pid);
	return number > 0 ? number : NOBODY;
}

ssize_t pids_from_caller(const char *text, size_t size, uint32_t tid, char out[PID_TEXT_SIZE])
{
	int32_t pid = parse_pid(text, size);

	if (pid < 0)
		return snprintf(out, PID_TEXT_SIZE, "not a pid");
	if (pid)
		pid = pid_from_namespace(pid, tid);
	else
		pid = tid ? (int32_t)tid : NOBODY;
	return pid < 0 ? pid : snprintf(out, PID_TEXT_SIZE, "%d", pid);
}

int pids_to_caller(const char *text, size_t size, int pidns_fd, char **out, size_t *out_size)
{
	const char *end = text + size;
	size_t lines = 0, length = 0;

	for (const char *c = text; c < end; c++)
		lines += *c == '\n';
	*out = malloc(lines * LONGEST_LINE + 1);
	if (!*out)
		return -ENOMEM;
	while (lines--) {
		int number = 0, pid = 0;

		for (; *text != '\n'; text++)
			pid = pid * 10 + digit_value(*text);
		text++;
		if (pidns_fd >= 0 && pid)
			number = number_in(pidns_fd, pid);
		length += sprintf(*out + length, "%d\n", number > 0 ? number : 0);
	}
	*out_size = length;
	return 0;
}
