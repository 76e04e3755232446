/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * To whom what a caller uses is charged. A uid would do, if nobody had more than one: in a container there are as many as
 * one likes. So whoever is in a container counts as one:
 * - in a user namespace, as the user who made it, or who made the first of those that it is in; if that was root, as that
 *   namespace, which only root can make;
 * - in a PID namespace alone, as that: only root can make one without a user namespace (and who has a set-uid program that
 *   makes one for him).
 *
 * To find that out takes some 20 µs: it is asked only when a part of what there is has been taken, or before what takes much
 * longer; and never with a lock held.
 *
 * Sources: user_namespaces(7), pid_namespaces(7), ioctl_nsfs(2), pidfd_open(2); linux/pidfd.h of Linux 6.11.
 */
#include "user.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "identity.h"

#define IS_NAMESPACE (1ull << 63)

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef PIDFD_GET_USER_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)
#define PIDFD_GET_USER_NAMESPACE _IO(0xFF, 9)
#endif

/*
 * A descriptor of the task's namespace, or -1. From a pidfd, where nobody can make anybody wait. A kernel before 6.11 gives
 * it by /proc only, where the task's owner can.
 */
static int namespace_of(uint32_t tid, unsigned long pidfd_request, const char *name)
{
	CLEANUP_FD int task = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	int fd = task < 0 ? -1 : ioctl(task, pidfd_request, 0);	/* EINVAL if the argument is not 0 */

	if (fd < 0 && errno == (task < 0 ? EINVAL : ENOTTY))
		fd = namespace_open(tid, name);
	return fd < 0 ? -1 : fd;
}

/* Who is behind a user namespace below ours, which is closed. */
static uint64_t user_behind(int namespace_fd)
{
	uint64_t user;
	uid_t owner;

	for (;;) {
		int parent = ioctl(namespace_fd, NS_GET_PARENT);

		if (parent < 0 || namespace_fd_id(parent) == identity_own_namespaces()->user) {
			if (parent >= 0)
				close(parent);
			break;
		}
		close(namespace_fd);
		namespace_fd = parent;
	}
	if (ioctl(namespace_fd, NS_GET_OWNER_UID, &owner) == 0 && owner != 0)
		user = owner;
	else
		user = IS_NAMESPACE | namespace_fd_id(namespace_fd);
	close(namespace_fd);
	return user;
}

uint64_t user_of(const struct cgfs_caller *caller)
{
	const struct own_namespaces *own = identity_own_namespaces();
	uint32_t tid = identity_visible_tid(caller->tid);
	CLEANUP_FD int pid_namespace = -1;
	int user_namespace;

	user_namespace = tid ? namespace_of(tid, PIDFD_GET_USER_NAMESPACE, "user") : -1;
	if (user_namespace < 0)
		return caller->uid;
	if (namespace_fd_id(user_namespace) != own->user)
		return user_behind(user_namespace);
	close(user_namespace);
	pid_namespace = namespace_of(tid, PIDFD_GET_PID_NAMESPACE, "pid");
	if (pid_namespace < 0 || namespace_fd_id(pid_namespace) == own->pid)
		return caller->uid;
	return IS_NAMESPACE | namespace_fd_id(pid_namespace);
}
