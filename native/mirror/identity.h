/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who asks, and acting as he does. */
#ifndef CGFS_MIRROR_IDENTITY_H
#define CGFS_MIRROR_IDENTITY_H

#include "internal.h"

/* --- task_stat.c ------------------------------------------------------------------------------------------------------ */

/* The number that is that field (from 1, and not the second) of a thread's /proc/TID/stat; -1: it cannot be had. */
int64_t task_stat(uint32_t tid, int field);

/* --- identity.c: acting as the caller ---------------------------------------------------------------------------- */

/*
 * Take on, for the calling thread only, what the caller may do: ids, supplementary groups, effective capabilities (none if
 * his user namespace is not the daemon's) and, with IDENTITY_CGROUP_NS, his cgroup namespace. A tid of 0 has no groups and
 * no capabilities, and is refused (-ESRCH) where its cgroup namespace matters. Returns 0 or -errno; on error nothing is
 * changed.
 */
struct identity {
	unsigned int changed;	/* what identity_drop has to take back; start with {} */
};
enum { IDENTITY_CGROUP_NS = 1 };
/* Note what the daemon itself is, before any thread is somebody else. Returns 0 or -errno. */
int identity_init(void);
/* Its namespaces, as namespace_id() says them. */
struct own_namespaces {
	uint64_t user, cgroup, pid;
};
const struct own_namespaces *identity_own_namespaces(void);
int identity_take(struct identity *identity, const struct cgfs_caller *caller, int flags);
/* Whether there would be nothing to take on, with IDENTITY_CGROUP_NS: whoever is so may do what the daemon may. */
bool identity_is_own(const struct cgfs_caller *caller);
/* Be the daemon again. Aborts the process if that fails: a thread that is somebody else must not go on. */
void identity_drop(struct identity *identity);
#define AS_CALLER __attribute__((cleanup(identity_drop)))
/*
 * For what the file's mode allows to its owner, where the owner is the caller: then neither groups nor capabilities matter,
 * and they are not read, which takes long. The thread has none meanwhile, unless the owner is root.
 */
int identity_take_owner(struct identity *identity, const struct cgfs_caller *caller);
/* Whether that is so. The two are to be looked at anew: what the kernel has checked may be old. */
static inline bool identity_owner_may(const struct cgfs_caller *caller, uint32_t owner, mode_t mode, mode_t needed)
{
	return caller->uid == owner && (mode & needed) == needed;
}
/* For a write judged by the writer's capabilities on a file that the opener opened: capabilities only. */
int identity_take_capabilities(struct identity *identity, const struct cgfs_caller *caller);
struct credentials;
/* What the caller may do, as identity_take() takes it on. Returns 0 or -errno; credentials_free() either way. */
int identity_credentials(const struct cgfs_caller *caller, struct credentials *credentials);

/* A tid, or 0 where the daemon's /proc is not of its own PID namespace and has another task by that number. */
uint32_t identity_visible_tid(uint32_t tid);

/* Whether the calling thread has a capability now. */
bool identity_has(int capability);

/* --- credentials.c: namespaces of tasks; the rest is in credentials.h ------------------------------------------------- */

/* A namespace of task tid, by its name in /proc/TID/ns: what identifies it; a descriptor. Return 0, or a descriptor,
 * or -errno. */
#define THREAD_SELF UINT32_MAX	/* as a tid: the calling thread, whatever /proc calls it */
int namespace_id(uint32_t tid, const char *name, uint64_t *id);
int namespace_open(uint32_t tid, const char *name);
/* What identifies the one that fd is open on; 0 if that cannot be had. */
uint64_t namespace_fd_id(int fd);

/* --- pids.c: pids as the caller's PID namespace numbers them -------------------------------------------------------- */

/* The PID namespace of task tid: a descriptor of it, -1 if it is the daemon's own. Returns 0 or -errno (-ESRCH for a tid
 * of 0: a namespace that the daemon cannot see). */
int pids_foreign_namespace(uint32_t tid, int *pidns_fd);
/*
 * What to write to cgroup.procs or cgroup.threads instead of text, so that it means to the kernel, coming from the
 * daemon, what text means coming from task tid ("0" is the writer); where text means nothing, or nobody that tid can
 * see, the kernel refuses it with the native errno. Returns the length of out, or -errno where that cannot be found out.
 */
#define PID_TEXT_SIZE 16
ssize_t pids_from_caller(const char *text, size_t size, uint32_t tid, char out[PID_TEXT_SIZE]);
/* Lines of the daemon's pids in text to those of pidns_fd (0 where it has none; all 0 if pidns_fd is -1). Returns 0 and
 * a malloc'd text and its size, or -errno. */
int pids_to_caller(const char *text, size_t size, int pidns_fd, char **out, size_t *out_size);

#endif
