/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose share of what is limited a caller's is. A uid would do, if nobody had more than one: in a container there are as
 * many as one likes. So whoever is in a container counts as one:
 * - in a user namespace, as the user who made it, or who made the first of those that it is in; if that was root, as that
 *   namespace, which only root can make;
 * - in a PID namespace alone, as that: only root can make one without a user namespace (and who has a set-uid program that
 *   makes one for him).
 *
 * To find that out takes some 50 µs, and longer if the caller makes his directory in /proc slow: it is asked only when a
 * part of what there is has been taken, or before what takes much longer; and never with a lock held.
 *
 * Sources: user_namespaces(7), pid_namespaces(7), ioctl_nsfs(2).
 */
#include "user.h"

#include <linux/nsfs.h>
#include <sys/ioctl.h>

#define IS_NAMESPACE (1ull << 63)

static uint64_t id_of(int namespace_fd)
{
	struct stat st;

	return fstat(namespace_fd, &st) < 0 ? 0 : st.st_ino;
}

/* Who is behind a user namespace below ours, which is closed. */
static uint64_t user_behind(int namespace_fd)
{
	uint64_t user;
	uid_t owner;

	for (;;) {
		int parent = ioctl(namespace_fd, NS_GET_PARENT);

		if (parent < 0 || id_of(parent) == identity_own_namespaces()->user) {
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
		user = IS_NAMESPACE | id_of(namespace_fd);
	close(namespace_fd);
	return user;
}

uint64_t user_of(uint32_t tid, uint32_t uid)
{
	const struct own_namespaces *own = identity_own_namespaces();
	uint64_t user_namespace, pid_namespace;
	int fd;

	tid = identity_visible_tid(tid);
	if (!tid || namespace_id(tid, "user", &user_namespace) || namespace_id(tid, "pid", &pid_namespace))
		return uid;
	if (user_namespace != own->user) {
		fd = namespace_open(tid, "user");
		return fd < 0 ? IS_NAMESPACE | user_namespace : user_behind(fd);
	}
	return pid_namespace != own->pid ? IS_NAMESPACE | pid_namespace : uid;
}
