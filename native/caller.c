// SPDX-License-Identifier: GPL-2.0-or-later
/* Sources: pidfd_getfd(2), Linux 5.6, of which glibc has a wrapper since 2.36 only; user_namespaces(7). */
#include "caller.h"

#include <string.h>
#include <sys/syscall.h>

#include "mirror/credentials.h"
#include "mirror/identity.h"
#include "mirror/user.h"

#define INITIAL_USER_NAMESPACE 0xEFFFFFFD	/* PROC_USER_INIT_INO of include/linux/proc_ns.h: its inode number */

int cgfs_credentials_read(const struct cgfs_caller *caller, struct cgfs_credentials *out, uint32_t room)
{
	struct credentials credentials;
	int error = identity_credentials(caller, &credentials);
	size_t groups_size = (size_t)credentials.n_groups * sizeof(out->groups[0]);

	if (error == -ENOENT || error == -ESRCH)
		error = 0;
	_Static_assert(sizeof(out->comm) == sizeof(credentials.comm), "struct cgfs_credentials");
	*out = (struct cgfs_credentials){
		.uid = caller->uid,
		.gid = caller->gid,
		.tgid = credentials.tgid,
		.n_groups = (uint32_t)credentials.n_groups,
	};
	if (identity_own_namespaces()->user == INITIAL_USER_NAMESPACE)
		out->capabilities = credentials.effective;
	memcpy(out->comm, credentials.comm, sizeof(out->comm));
	if (sizeof(*out) + groups_size <= room)
		memcpy(out->groups, credentials.groups, groups_size);
	credentials_free(&credentials);
	return error ? error : (int)(sizeof(*out) + groups_size);
}

uint64_t cgfs_caller_user(const struct cgfs_caller *caller)
{
	return user_of(caller);
}

int cgfs_pidfd_getfd(int pidfd, int number)
{
	long fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? -errno : (int)fd;
}
