/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of cgroup2. Functions return a descriptor (close-on-exec) or -errno; descriptors that go in are borrowed. */
#ifndef CGFS_CGROUP_H
#define CGFS_CGROUP_H

#include <stdint.h>

/* Open the cgroup with that id, for reading, by its file handle. -ESTALE if it is gone. */
int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);

#endif
