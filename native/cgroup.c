// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: open_by_handle_at(2), fs/kernfs/mount.c (kernfs_export_ops). */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* FILEID_KERNFS of include/linux/exportfs.h: the handle is the kernfs id, which is the cgroup's. */
#define HANDLE_TYPE_KERNFS 0xfe

int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + sizeof(cgroup_id)];
	} u;
	int fd;

	memset(&u, 0, sizeof(u));
	u.handle.handle_bytes = sizeof(cgroup_id);
	u.handle.handle_type = HANDLE_TYPE_KERNFS;
	memcpy(u.handle.f_handle, &cgroup_id, sizeof(cgroup_id));
	fd = open_by_handle_at(mount_fd, &u.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
