/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories and files of cgroup2. */
#ifndef CGFS_CGROUP_H
#define CGFS_CGROUP_H

#include <stddef.h>
#include <stdint.h>

/*
 * Open what has that kernfs id, as open(2) does with these flags, by its file handle. mount_fd (borrowed) is any directory of
 * the mount. Returns a descriptor (close-on-exec), or -errno: -ESTALE if it is gone.
 */
int cgfs_open_by_kernfs_id(int mount_fd, uint64_t id, int flags);

/*
 * The root of a cgroup2 mount that is at no place, wherever others are mounted and whatever hides them: in a cgroup namespace,
 * the namespace's. There is one cgroup2 only, and what is mounted anew gives all of it its options, n flags: they have to be
 * those that it has. Returns a directory's descriptor (close-on-exec), or -errno: -EPERM without CAP_SYS_ADMIN.
 */
int cgfs_open_cgroup2(const char *const *flags, size_t n);

#endif
