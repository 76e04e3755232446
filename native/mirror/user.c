/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose share of what is limited a caller's is. A uid would do, had nobody but one: in a container there are as many as one
 * likes. So whoever is in a container counts as one:
 * - in a user namespace, as the user who made it, or who made the first of those that it is in; if that was root, as that
 *   namespace, which only root can make;
 * - in a PID namespace alone, as that: only root can make one without a user namespace.
 *
 * To find that out takes some 50 µs: it is asked only while there is not much left to be shared.
 *
 * Sources: user_namespaces(7), pid_namespaces(7), ioctl_nsfs(2).
 */
#include "user.h"

#include <linux/nsfs.h>
#include <sys/ioctl.h>

#define IS_NAMESPACE (1ull << 63)

static uint64_t own_user_namespace, own_pid_namespace;
static int own_error;

static void find_own(void)
{
	own_error = namespace_id(THREAD_SELF, "user", &own_user_namespace);
	if (!own_error)
		own_error = namespace_id(THREAD_SELF, "pid", &own_pid_namespace);
}

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

		if (parent < 0 || id_of(parent) == own_user_namespace) {
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
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t user_namespace, pid_namespace;
	int fd;

	pthread_once(&once, find_own);
	tid = identity_visible_tid(tid);
	if (own_error || !tid || namespace_id(tid, "user", &user_namespace) || namespace_id(tid, "pid", &pid_namespace))
		return uid;
	if (user_namespace != own_user_namespace) {
		fd = namespace_open(tid, "user");
		return fd < 0 ? uid : user_behind(fd);
	}
	return pid_namespace != own_pid_namespace ? IS_NAMESPACE | pid_namespace : uid;
}
