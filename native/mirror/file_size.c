/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sizes where nothing passes through the kernel.
 *
 * cgroup2's files are 0 bytes long, whatever is in them. Where the kernel reads them by itself, sendfile(2) and
 * splice(2) go to cgroup2 and find all. Where it does not, they go through the page cache, which ends at the size: then
 * a file is as long as its content, and the kernel asks for its attributes each time that it is opened. So busybox's
 * cat shows it, and so do tools that go by the size. A content that has grown since it was opened is cut there.
 *
 * Source: kernel fuse_splice_read() in fs/fuse/file.c, filemap_splice_read() in mm/filemap.c.
 */
#include <fcntl.h>

#include "files.h"

bool sized_by_content(const struct cgfs_mirror *mirror, mode_t mode)
{
	return !mirror->passthrough && S_ISREG(mode);
}

static off_t content_size(int fd)
{
	char content[16384];
	off_t size = 0;
	ssize_t n;

	while ((n = pread(fd, content, sizeof(content), size)) > 0)
		size += n;
	return size;
}

/* As the daemon: whoever may ask for the attributes of a file may know its length. One that cannot be read
 * (cgroup.kill) has none. */
void size_by_content(const struct cgfs_mirror *mirror, int dir_fd, const char *name, struct stat *st)
{
	CLEANUP_FD int fd = -1;

	if (!sized_by_content(mirror, st->st_mode))
		return;
	fd = name ? openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : reopen(dir_fd, O_RDONLY);
	st->st_size = fd < 0 ? 0 : content_size(fd);
}
