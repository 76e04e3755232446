// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: open_by_handle_at(2), fs/kernfs/mount.c (kernfs_export_ops), openat2(2). */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

int cgfs_cgroup_controllers_owner(int cgroup_fd, bool wait, uint32_t *uid, uint32_t *gid)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = wait ? 0 : RESOLVE_CACHED,
	};
	long fd = syscall(SYS_openat2, cgroup_fd, "cgroup.controllers", &how, sizeof(how));
	struct stat st;
	int error;

	if (fd < 0)
		return -errno;
	error = fstat((int)fd, &st) < 0 ? -errno : 0;
	close((int)fd);
	if (error)
		return error;
	*uid = st.st_uid;
	*gid = st.st_gid;
	return 0;
}

int cgfs_cgroup_parent(int cgroup_fd)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV,	/* ".." of a mount's root would lead out of it */
	};
	long fd = syscall(SYS_openat2, cgroup_fd, "..", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}
