// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: pidfd_getfd(2), Linux 5.6, of which glibc has a wrapper since 2.36 only; proc_pid_status(5), namespaces(7). */
#include "caller.h"

#include <string.h>
#include <sys/syscall.h>

#include "mirror/credentials.h"
#include "mirror/internal.h"

int cgfs_pidfd_getfd(int pidfd, int number)
{
	long fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? -errno : (int)fd;
}

int cgfs_task_read(uint32_t tid, uint32_t uid, struct cgfs_task *task, uint32_t *groups, uint32_t room)
{
	struct credentials credentials;
	int error;

	tid = identity_visible_tid(tid);
	error = credentials_read(tid, uid, &credentials);
	_Static_assert(sizeof(task->name) == sizeof(credentials.name), "struct cgfs_task");
	*task = (struct cgfs_task){
		.process = credentials.process,
		.fsuid = credentials.fsuid,
		.fsgid = credentials.fsgid,
		.n_groups = (uint32_t)credentials.n_groups,
		.effective = credentials.effective,
	};
	memcpy(task->name, credentials.name, sizeof(task->name));
	memcpy(groups, credentials.groups, (task->n_groups < room ? task->n_groups : room) * sizeof(*groups));
	credentials_free(&credentials);
	return error ? error : namespace_id(tid, "user", &task->user_namespace);
}
