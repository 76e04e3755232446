/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process in some state, that waits until it is told to end. */
#ifndef CGFS_CHILD_H
#define CGFS_CHILD_H

#include <sys/types.h>

struct child {
	pid_t pid;
	int hold;	/* the child ends when this is closed */
};

/* Fork a child that calls prepare() and then waits; returns when it has called it. */
struct child child_start(void (*prepare)(void));
void child_end(struct child *child);

#endif
