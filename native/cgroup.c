// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: open_by_handle_at(2), fs/kernfs/mount.c (kernfs_export_ops). */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* FILEID_KERNFS of include/linux/exportfs.h: the handle is the kernfs id, which is the cgroup's. */
#define HANDLE_TYPE_KERNFS 0xfe

static int open_by_id(int mount_fd, uint64_t id, int flags)
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

int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id)
{
	return open_by_id(mount_fd, cgroup_id, O_RDONLY | O_DIRECTORY);
}

int cgfs_cgroup_file_id(int cgroup_fd, const char *name, uint64_t *id)
{
	struct stat st;

	if (fstatat(cgroup_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*id = st.st_ino;
	return 0;
}

int cgfs_cgroup_file_owner(int mount_fd, uint64_t id, uint32_t *uid, uint32_t *gid)
{
	int fd = open_by_id(mount_fd, id, O_PATH);
	struct stat st;
	int error;

	if (fd < 0)
		return fd;
	error = fstat(fd, &st) < 0 ? -errno : 0;
	close(fd);
	if (error)
		return error;
	*uid = st.st_uid;
	*gid = st.st_gid;
	return 0;
}
