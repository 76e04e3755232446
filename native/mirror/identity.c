/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Acting as the caller: what a thread of the daemon may do while it opens or changes something for somebody else.
 *
 * Only raw system calls: the C library's wrappers change every thread of the process. The permitted capabilities are
 * kept, since a thread that gave them up could never come back; what the kernel judges by is the effective set.
 * (One check compares permitted sets: cap_safe_nice(), when a migration changes the cpus of a process that has more
 * capabilities than the writer. Whoever may make that migration may as well write cpuset.cpus there.)
 *
 * /proc/TID is the caller and nobody else for as long as its request is unanswered: once a request was read from
 * /dev/fuse, the calling thread waits for the answer where no signal reaches it, not even SIGKILL
 * (request_wait_answer() in the kernel), so that its number cannot be given to another. Only an abort of the whole
 * connection lets it go, which needs the rights of the daemon itself.
 *
 * Sources: credentials(7), capabilities(7), setfsuid(2), cgroup_namespaces(7); kernel fs/fuse/dev.c.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "credentials.h"
#include "identity.h"
#include "control_turns.h"

/* With these, and root's ids, supplementary groups decide nothing on a cgroup's files and directories. */
#define CAP_BIT(capability) (1ull << (capability))
#define FILE_CAPABILITIES (CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) | \
			   CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID))

enum {
	CHANGED_CGROUP_NS = 1,
	CHANGED_GROUPS = 2,
	CHANGED_FSGID = 4,
	CHANGED_FSUID = 8,
	CHANGED_CAPABILITIES = 16,
};

#define STAT_FLAGS 9			/* proc_pid_stat(5) */
#define PF_IO_WORKER 0x00000010		/* include/linux/sched.h */

struct capabilities {
	uint64_t effective, permitted, inheritable;
};

/* What the daemon is itself. Written once, by identity_init(). */
static struct {
	int error;
	bool sees_callers;	/* /proc/TID is the caller, not another task of that number */
	uid_t uid;
	gid_t gid;
	int n_groups;
	gid_t *groups;
	struct capabilities capabilities;
	struct own_namespaces namespaces;
	int cgroup_ns_fd;
} own;

static int capabilities_get(uint32_t tid, struct capabilities *capabilities)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = tid };
	struct __user_cap_data_struct data[2] = {};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	capabilities->effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	capabilities->permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	capabilities->inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable;
	return 0;
}

/* The calling thread's effective set; the others stay as they are. */
static int capabilities_set_effective(uint64_t effective)
{
	const struct capabilities *capabilities = &own.capabilities;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ effective, capabilities->permitted, capabilities->inheritable },
		{ effective >> 32, capabilities->permitted >> 32, capabilities->inheritable >> 32 },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static void own_init(void)
{
	own.sees_callers = proc_is_ours();
	own.uid = syscall(SYS_setfsuid, -1);
	own.gid = syscall(SYS_setfsgid, -1);
	own.n_groups = getgroups(0, NULL);
	own.groups = calloc(own.n_groups + 1, sizeof(*own.groups));
	if (!own.groups) {
		own.error = -ENOMEM;
		return;
	}
	own.n_groups = getgroups(own.n_groups, own.groups);
	own.error = capabilities_get(0, &own.capabilities);
	if (!own.error)
		own.error = namespace_id(THREAD_SELF, "user", &own.namespaces.user);
	if (!own.error)
		own.error = namespace_id(THREAD_SELF, "cgroup", &own.namespaces.cgroup);
	if (!own.error)
		own.error = namespace_id(THREAD_SELF, "pid", &own.namespaces.pid);
	if (own.error)
		return;
	own.cgroup_ns_fd = namespace_open(THREAD_SELF, "cgroup");
	if (own.cgroup_ns_fd < 0)
		own.error = own.cgroup_ns_fd;
}

int identity_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, own_init);
	return own.error;
}

const struct own_namespaces *identity_own_namespaces(void)
{
	return &own.namespaces;
}

uint32_t identity_visible_tid(uint32_t tid)
{
	return !identity_init() && own.sees_callers ? tid : 0;
}

bool identity_has(int capability)
{
	struct capabilities capabilities;

	return !capabilities_get(0, &capabilities) && capabilities.effective >> capability & 1;
}

/* Those of a task's capabilities that count here: those in the daemon's user namespace. */
static uint64_t capabilities_here(uint32_t tid, uint64_t effective)
{
	uint64_t user_ns;

	if (effective && (namespace_id(tid, "user", &user_ns) || user_ns != own.namespaces.user))
		effective = 0;
	return effective;
}

/* Of those, what a thread of the daemon can have. */
static uint64_t capabilities_to_take(uint32_t tid, uint64_t effective)
{
	return capabilities_here(tid, effective & own.capabilities.permitted);
}

/*
 * A thread of io_uring's acts under the credentials of whoever has submitted the request. What it has itself, which is all
 * that /proc and capget(2) show, is what its process had when it was made, and may have given up since. It has no list of
 * robust futexes, as all threads of the C library do; that spares the look into /proc. If in doubt, it is one.
 */
static bool acts_for_another(uint32_t tid)
{
	void *head = NULL;
	size_t size;
	int64_t flags;

	if (syscall(SYS_get_robust_list, tid, &head, &size) == 0 && head)
		return false;
	flags = task_stat(tid, STAT_FLAGS);
	return flags < 0 || flags & PF_IO_WORKER;
}

/*
 * Without a tid, nothing is known, and nothing is granted. The same where the task's own ids in /proc are not those that
 * the request carries: then somebody acts under credentials for the moment (a personality of io_uring, a file system
 * stacked on this one), and those that /proc shows are not they. (A personality of the same ids is not noticed.)
 */
int identity_credentials(const struct cgfs_caller *caller, struct credentials *credentials)
{
	int error = identity_init();
	uint32_t tid = identity_visible_tid(caller->tid);

	credentials_none(credentials);
	if (!error && tid)
		error = credentials_read(caller, credentials);
	if (error)
		return error;
	if (tid && (credentials->fsuid != caller->uid || credentials->fsgid != caller->gid || acts_for_another(tid))) {
		credentials->effective = 0;
		credentials->n_groups = 0;
	}
	credentials->effective = capabilities_here(tid, credentials->effective);
	return 0;
}

/* Root with all of the daemon's capabilities: that is the daemon itself. */
static bool same_as_own(const struct cgfs_caller *caller)
{
	uint32_t tid = identity_visible_tid(caller->tid);
	struct capabilities theirs;

	return tid && caller->uid == own.uid && caller->gid == own.gid &&
	       (own.capabilities.effective & FILE_CAPABILITIES) == FILE_CAPABILITIES &&
	       !capabilities_get(tid, &theirs) &&
	       capabilities_to_take(tid, theirs.effective) == own.capabilities.effective && !acts_for_another(tid);
}

bool identity_is_own(const struct cgfs_caller *caller)
{
	uint64_t cgroup_ns;

	return !identity_init() && same_as_own(caller) &&
	       !namespace_id(identity_visible_tid(caller->tid), "cgroup", &cgroup_ns) && cgroup_ns == own.namespaces.cgroup;
}

/* setfsuid() and setfsgid() do not say whether they failed: only the next call does. */
static int set_file_id(long system_call, uint32_t id)
{
	syscall(system_call, id);
	return (uint32_t)syscall(system_call, id) == id ? 0 : -EPERM;
}

static bool groups_are_own(const struct credentials *credentials)
{
	return credentials->n_groups == own.n_groups &&
	       !memcmp(credentials->groups, own.groups, own.n_groups * sizeof(*own.groups));
}

/* The kernel sorts them. */
static int set_groups(const struct credentials *credentials, const struct cgfs_caller *caller)
{
	bool many = credentials->groups != credentials->few;
	struct turn turn;
	int error;

	if (many)
		turn_take(&group_turns, &turn, caller);
	error = syscall(SYS_setgroups, credentials->n_groups, credentials->groups) < 0 ? -errno : 0;
	if (many)
		turn_give(&group_turns, &turn);
	return error;
}

/* Each step is noted before it is tried, so that a step that failed half-way is undone as well. The capabilities
 * come last: the other steps need the daemon's. */
static int become(struct identity *identity, const struct cgfs_caller *caller, const struct credentials *credentials)
{
	uint64_t effective;
	int error;

	if (!groups_are_own(credentials)) {
		identity->changed |= CHANGED_GROUPS;
		error = set_groups(credentials, caller);
		if (error)
			return error;
	}
	if (caller->gid != own.gid) {
		identity->changed |= CHANGED_FSGID;
		error = set_file_id(SYS_setfsgid, caller->gid);
		if (error)
			return error;
	}
	if (caller->uid != own.uid) {
		identity->changed |= CHANGED_FSUID;
		error = set_file_id(SYS_setfsuid, caller->uid);
		if (error)
			return error;
	}
	effective = credentials->effective & own.capabilities.permitted;
	if (identity->changed & CHANGED_FSUID || effective != own.capabilities.effective) {
		identity->changed |= CHANGED_CAPABILITIES;
		return capabilities_set_effective(effective);
	}
	return 0;
}

/*
 * The caller's cgroup namespace bounds the migrations by the files that it opens. Who cannot be asked for it (no tid: a
 * caller outside the daemon's PID namespace) could be bounded by nothing, and is refused with the errno that each pid
 * from there would get: there is no such process here.
 */
static int enter_cgroup_ns(struct identity *identity, uint32_t tid)
{
	CLEANUP_FD int fd = -1;
	uint64_t id;
	int error;

	if (!tid)
		return -ESRCH;
	error = namespace_id(tid, "cgroup", &id);
	if (error || id == own.namespaces.cgroup)
		return error;
	fd = namespace_open(tid, "cgroup");
	if (fd < 0)
		return fd;
	identity->changed |= CHANGED_CGROUP_NS;
	return setns(fd, CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

int identity_take(struct identity *identity, const struct cgfs_caller *caller, int flags)
{
	struct credentials credentials;
	int error = identity_init();

	*identity = (struct identity){};
	if (!error && flags & IDENTITY_CGROUP_NS)
		error = enter_cgroup_ns(identity, identity_visible_tid(caller->tid));
	if (!error && !same_as_own(caller)) {
		error = identity_credentials(caller, &credentials);
		if (!error)
			error = become(identity, caller, &credentials);
		credentials_free(&credentials);
	}
	if (error)
		identity_drop(identity);
	return error;
}

int identity_take_owner(struct identity *identity, const struct cgfs_caller *caller)
{
	struct credentials none;
	int error = identity_init();

	*identity = (struct identity){};
	if (error || (caller->uid == own.uid && caller->gid == own.gid))
		return error;
	credentials_none(&none);
	error = become(identity, caller, &none);
	if (error)
		identity_drop(identity);
	return error;
}

int identity_take_capabilities(struct identity *identity, const struct cgfs_caller *caller)
{
	struct capabilities theirs = {};
	uint64_t effective;
	int error = identity_init();
	uint32_t tid = identity_visible_tid(caller->tid);

	*identity = (struct identity){};
	if (!error && tid)
		error = capabilities_get(tid, &theirs);
	if (error)
		return error;
	if (tid && acts_for_another(tid))
		theirs = (struct capabilities){};
	effective = capabilities_to_take(tid, theirs.effective);
	if (effective == own.capabilities.effective)
		return 0;
	identity->changed = CHANGED_CAPABILITIES;
	error = capabilities_set_effective(effective);
	if (error)
		identity_drop(identity);
	return error;
}

void identity_drop(struct identity *identity)
{
	unsigned int changed = identity->changed;
	bool failed = false;

	if (changed & CHANGED_CAPABILITIES)
		failed |= capabilities_set_effective(own.capabilities.effective) != 0;
	if (changed & CHANGED_FSUID)
		failed |= set_file_id(SYS_setfsuid, own.uid) != 0;
	if (changed & CHANGED_FSGID)
		failed |= set_file_id(SYS_setfsgid, own.gid) != 0;
	if (changed & CHANGED_GROUPS)
		failed |= syscall(SYS_setgroups, own.n_groups, own.groups) < 0;
	if (changed & CHANGED_CGROUP_NS)
		failed |= setns(own.cgroup_ns_fd, CLONE_NEWCGROUP) < 0;
	if (failed)
		abort();
	identity->changed = 0;
}
