/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tasks as /proc shows them: groups, capabilities, namespaces. Sources: proc(5), namespaces(7). */
#include "credentials.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "control_turns.h"

bool proc_is_ours(void)
{
	char link[16];
	ssize_t size = readlink("/proc/self", link, sizeof(link) - 1);

	if (size < 0)
		return false;
	link[size] = 0;
	return strtol(link, NULL, 10) == getpid();
}

static void namespace_path(uint32_t tid, const char *name, char path[48])
{
	if (tid == THREAD_SELF)
		snprintf(path, 48, "/proc/thread-self/ns/%s", name);
	else
		snprintf(path, 48, "/proc/%u/ns/%s", tid, name);
}

int namespace_id(uint32_t tid, const char *name, uint64_t *id)
{
	char path[48], link[48];
	const char *number;
	ssize_t size;

	namespace_path(tid, name, path);
	size = readlink(path, link, sizeof(link) - 1);
	if (size < 0)
		return -errno;
	link[size] = 0;
	number = strchr(link, '[');	/* "user:[4026531837]" */
	if (!number)
		return -EIO;
	*id = strtoull(number + 1, NULL, 10);
	return 0;
}

uint64_t namespace_fd_id(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

int namespace_open(uint32_t tid, const char *name)
{
	char path[48];
	int fd;

	namespace_path(tid, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void credentials_none(struct credentials *credentials)
{
	*credentials = (struct credentials){ .groups = credentials->few };
}

void credentials_free(struct credentials *credentials)
{
	if (credentials->groups != credentials->few)
		free(credentials->groups);
}

/* The whole of a file in /proc: in buffer if it fits (the usual case), else allocated. Terminated by a 0. */
static int read_whole(const char *path, char *buffer, size_t capacity, char **text)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *grown = NULL, *more;
	size_t size = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	*text = buffer;
	while ((n = read(fd, *text + size, capacity - 1 - size)) > 0) {
		size += n;
		if (size < capacity - 1)
			continue;
		capacity *= 4;
		more = realloc(grown, capacity);
		if (!more) {
			free(grown);
			return -ENOMEM;
		}
		if (!grown)
			memcpy(more, buffer, size);
		*text = grown = more;
	}
	if (n < 0) {
		n = -errno;
		free(grown);
		return n;
	}
	(*text)[size] = 0;
	return 0;
}

/* The value of a line "name:\tvalue" of /proc/TID/status. The task's own name, in the first line, cannot forge one:
 * its newlines are escaped. */
static const char *status_value(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? line + strlen(name) : NULL;
}

static int parse_groups(const char *line, struct credentials *credentials)
{
	size_t capacity = sizeof(credentials->few) / sizeof(credentials->few[0]);
	char *end;

	for (;;) {
		unsigned long group;

		while (*line == ' ' || *line == '\t')
			line++;
		if (*line < '0' || *line > '9')
			return 0;
		group = strtoul(line, &end, 10);
		line = end;
		if ((size_t)credentials->n_groups == capacity) {
			gid_t *more = malloc(4 * capacity * sizeof(*more));

			if (!more)
				return -ENOMEM;
			memcpy(more, credentials->groups, capacity * sizeof(*more));
			credentials_free(credentials);
			credentials->groups = more;
			capacity *= 4;
		}
		credentials->groups[credentials->n_groups++] = group;
	}
}

/* The file system id: the fourth of real, effective, saved and file system id. */
static uint32_t fourth_number(const char *line)
{
	char *end = (char *)line;

	for (int i = 0; i < 3; i++)
		strtoul(end, &end, 10);
	return strtoul(end, NULL, 10);
}

/* The rest of a line, in which the kernel has escaped newlines and backslashes (proc_task_name in fs/proc/array.c). */
static void parse_comm(const char *line, char comm[64])
{
	size_t length = 0;

	while (*line && *line != '\n' && length < 63) {
		if (line[0] == '\\' && (line[1] == 'n' || line[1] == '\\'))
			comm[length++] = *++line == 'n' ? '\n' : '\\';
		else
			comm[length++] = *line;
		line++;
	}
	comm[length] = 0;
}

static int credentials_parse(const char *text, struct credentials *credentials)
{
	const char *name = strncmp(text, "Name:\t", 6) ? NULL : text + 6, *tgid = status_value(text, "\nTgid:");
	const char *uid = status_value(text, "\nUid:"), *gid = status_value(text, "\nGid:");
	const char *groups = status_value(text, "\nGroups:"), *effective = status_value(text, "\nCapEff:");

	if (!name || !tgid || !uid || !gid || !groups || !effective)
		return -EIO;
	parse_comm(name, credentials->comm);
	credentials->tgid = strtoul(tgid, NULL, 10);
	credentials->fsuid = fourth_number(uid);
	credentials->fsgid = fourth_number(gid);
	credentials->effective = strtoull(effective, NULL, 16);
	return parse_groups(groups, credentials);
}

struct turns group_turns = TURNS_INITIALIZER(group_turns, 2, 4, 1000);

int credentials_read(const struct cgfs_caller *caller, struct credentials *credentials)
{
	char path[32], buffer[8192], *text = buffer;
	uint32_t tid = identity_visible_tid(caller->tid);
	struct turn turn;
	int error;

	credentials_none(credentials);
	if (!tid)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%u/status", tid);
	turn_take(&group_turns, &turn, caller);
	error = read_whole(path, buffer, sizeof(buffer), &text);
	if (!error) {
		error = credentials_parse(text, credentials);
		if (text != buffer)
			free(text);
	}
	turn_give(&group_turns, &turn);
	return error;
}
