/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of a task in another PID namespace, by /proc: see pids_proc.c. */
#ifndef CGFS_MIRROR_PIDS_H
#define CGFS_MIRROR_PIDS_H

#include <stdint.h>

/* The number in the namespace of the task that we call pid. Returns it, or -ESRCH: it is not in there. */
int pid_in_namespace_by_proc(int pidns_fd, int32_t pid);
/* Our number of the task that has that number in the namespace. Returns it, or -ESRCH. */
int pid_from_namespace_by_proc(int pidns_fd, int32_t wanted);

#endif
