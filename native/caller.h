/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who asks, and what is taken from the process that asks. */
#ifndef CGFS_CALLER_H
#define CGFS_CALLER_H

#include <stdint.h>

/* A copy of the descriptor number of the task pidfd (borrowed). Returns a descriptor (close-on-exec) or -errno. */
int cgfs_pidfd_getfd(int pidfd, int number);

/* What /proc says of a task. */
struct cgfs_task {
	uint32_t process;
	uint32_t fsuid, fsgid;
	uint32_t n_groups;		/* supplementary ones */
	uint64_t effective;		/* capabilities, in its own user namespace */
	uint64_t user_namespace;	/* its inode number */
	char name[64];
};

/*
 * What the task tid, which acts for the user uid, is now, and as many of its groups as have room. Returns 0 or -errno (-ENOENT, -ESRCH: there is none, or
 * /proc is not of our PID namespace).
 */
int cgfs_task_read(uint32_t tid, uint32_t uid, struct cgfs_task *task, uint32_t *groups, uint32_t room);

#endif
