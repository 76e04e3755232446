// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: open_by_handle_at(2), kernfs_encode_fh and kernfs_export_ops in fs/kernfs/mount.c. */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* FILEID_KERNFS of include/linux/exportfs.h: the handle is the kernfs id, which is a cgroup's. */
#define HANDLE_TYPE_KERNFS 0xfe

int cgfs_open_by_kernfs_id(int mount_fd, uint64_t id, int flags)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + sizeof(id)];
	} u;
	int fd;

	memset(&u, 0, sizeof(u));
	u.handle.handle_bytes = sizeof(id);
	u.handle.handle_type = HANDLE_TYPE_KERNFS;
	memcpy(u.handle.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount_fd, &u.handle, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
