/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is taken from the process that asks. */
#ifndef CGFS_CALLER_H
#define CGFS_CALLER_H

/* A copy of the descriptor number of the task pidfd (borrowed). Returns a descriptor (close-on-exec) or -errno. */
int cgfs_pidfd_getfd(int pidfd, int number);

#endif
