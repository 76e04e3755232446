/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of cgroup2. Functions return a descriptor (close-on-exec) or -errno; descriptors that go in are borrowed. */
#ifndef CGFS_CGROUP_H
#define CGFS_CGROUP_H

#include <stdint.h>

/* Open the cgroup with that id, for reading, by its file handle. -ESTALE if it is gone. */
int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);
/* The kernfs id of the file name in cgroup_fd. The kernel may wait for a mkdir or rmdir that goes on there. */
int cgfs_cgroup_file_id(int cgroup_fd, const char *name, uint64_t *id);
/* Who owns the file with that kernfs id; waits for nobody. -ESTALE if it is gone. Both return 0 or -errno. */
int cgfs_cgroup_file_owner(int mount_fd, uint64_t id, uint32_t *uid, uint32_t *gid);

#endif
