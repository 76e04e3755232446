// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: open_by_handle_at(2); fsopen(2), fsconfig(2), fsmount(2), which have wrappers since glibc 2.36; apply_cgroup_root_flags
 * in kernel/cgroup/cgroup.c; kernfs_encode_fh and kernfs_export_ops in fs/kernfs/mount.c. */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* A mount's descriptor is O_PATH, and that is no base for file handles. */
static int open_root(int mount_fd)
{
	int fd = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int cgfs_open_cgroup2(const char *const *flags, size_t n)
{
	int context = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC), mount_fd = -1, fd;
	long error = 0;

	if (context < 0)
		return -errno;
	for (size_t i = 0; i < n && !error; i++)
		error = syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, flags[i], NULL, 0);
	if (!error && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount_fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	fd = mount_fd < 0 ? -errno : open_root(mount_fd);
	close(context);
	if (mount_fd >= 0)
		close(mount_fd);
	return fd;
}
