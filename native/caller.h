/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who asks, and what is taken from the process that asks. */
#ifndef CGFS_CALLER_H
#define CGFS_CALLER_H

#include <stdint.h>

/* Who makes a request: the calling thread, 0 if it has no number in our PID namespace; its fsuid and fsgid. */
struct cgfs_caller {
	uint32_t tid, uid, gid;
};

/* What a caller is at one moment. */
struct cgfs_credentials {
	uint32_t uid, gid;	/* fsuid and fsgid */
	uint32_t tgid;	/* 0: not to be seen */
	uint32_t n_groups;	/* supplementary ones */
	uint64_t capabilities;	/* effective ones, held in the initial user namespace */
	char comm[64];		/* the thread's, which may be anything; empty if it is not to be seen */
	uint32_t groups[];
};

/*
 * What the caller is now. Who is gone or not to be seen has neither groups nor capabilities, nor has one whose ids in /proc
 * are others. Returns the size of it all, whose groups are written if they fit into room as well; or -errno.
 */
int cgfs_credentials_read(const struct cgfs_caller *caller, struct cgfs_credentials *credentials, uint32_t room);

/* To whom what the caller uses is charged (mirror/user.c): a uid (0 only for root outside of containers), or a number above. */
uint64_t cgfs_caller_user(const struct cgfs_caller *caller);

/* A copy of the descriptor number of the task pidfd (borrowed). Returns a descriptor (close-on-exec) or -errno. */
int cgfs_pidfd_getfd(int pidfd, int number);

#endif
