/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What /proc says of a task: which process it is of, its name, and what it may do. */
#ifndef CGFS_MIRROR_CREDENTIALS_H
#define CGFS_MIRROR_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../caller.h"

/*
 * Turns at reading and sorting groups, so that one user cannot have every CPU do that. A task may have 65,536 groups, and in a
 * user namespace of its own may choose them; the kernel takes 20 ms of CPU time to print so many, and some to sort them.
 */
extern struct turns group_turns;

struct credentials {
	uint64_t effective;	/* capabilities, in the task's own user namespace */
	uint32_t fsuid, fsgid;
	uint32_t tgid;
	char comm[64];		/* the task's own, which may be anything */
	int n_groups;
	gid_t *groups;		/* few, or allocated */
	gid_t few[64];
};

/* Those of nobody: no groups, no capabilities. */
void credentials_none(struct credentials *credentials);
/* Those of the caller's task, -ESRCH if it is not to be seen. Returns 0 or -errno; credentials_free() either way. */
int credentials_read(const struct cgfs_caller *caller, struct credentials *credentials);
void credentials_free(struct credentials *credentials);

/* Whether /proc numbers tasks as our PID namespace does. A daemon in a PID namespace of its own may have its parent's. */
bool proc_is_ours(void);

#endif
