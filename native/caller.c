// SPDX-License-Identifier: GPL-2.0-or-later
/* Source: pidfd_getfd(2), Linux 5.6; glibc has a wrapper since 2.36 only. */
#include "caller.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int cgfs_pidfd_getfd(int pidfd, int number)
{
	long fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? -errno : (int)fd;
}
