/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of cgroup2. Functions return a descriptor (close-on-exec) or -errno; descriptors that go in are borrowed. */
#ifndef CGFS_CGROUP_H
#define CGFS_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* Open the cgroup with that id, for reading, by its file handle. -ESTALE if it is gone. */
int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);
/*
 * Who owns cgroup.controllers of cgroup_fd. -EAGAIN without wait if the kernel would have to look the name up, for which
 * it waits while a mkdir or rmdir in the directory goes on. Returns 0 or -errno.
 */
int cgfs_cgroup_controllers_owner(int cgroup_fd, bool wait, uint32_t *uid, uint32_t *gid);
/* Open the parent of cgroup_fd with O_PATH. -EXDEV at the root of the mount. */
int cgfs_cgroup_parent(int cgroup_fd);

#endif
