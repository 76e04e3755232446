/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One field of a thread's /proc/TID/stat: proc_pid_stat(5). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"

int64_t task_stat(uint32_t tid, int wanted)
{
	char path[64], text[1024];
	const char *at;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", tid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[size > 0 ? size : 0] = 0;
	at = strrchr(text, ')');	/* the end of the second field, the name, which may be anything */
	for (int field = 2; at && field < wanted; field++)
		at = strchr(at + 1, ' ');
	return at ? atoll(at) : -1;
}
