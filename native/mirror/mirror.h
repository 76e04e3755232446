/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror: a FUSE server, in C threads, that shows a cgroup2 directory and adds control files to each directory.
 * It owns /dev/fuse and the mount. What a control file says and does is decided elsewhere: the mirror hands each
 * request on a control file to whoever holds the other end of the relay (FUSE messages as they are) and each ioctl
 * to whoever takes it from the queue.
 */
#ifndef CGFS_MIRROR_H
#define CGFS_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgfs_mirror;

/* What a control file is where nothing is attached and nothing noted. */
struct cgfs_untouched {
	const char *content;
	const char *const *note_names;	/* extended attributes of the directory: n_notes for each control file in turn */
	size_t n_notes;
	uint32_t mode;			/* permission bits */
	int64_t time_s;			/* of modification: whole seconds of CLOCK_REALTIME; the rest is the kernel's revision */
};

struct cgfs_mirror_options {
	const char *source;		/* a directory in a cgroup2 mount */
	const char *mountpoint;		/* a directory; may be source itself */
	const char *fsname;		/* first field of /proc/mounts */
	unsigned long mount_flags;	/* MS_RDONLY, ... beside the nosuid, nodev, noexec that always hold */
	bool allow_other;
	bool passthrough;		/* false: every read and write comes to the mirror */
	const char *const *control_names;	/* at most 127: the index is part of a node id */
	size_t n_control_names;
	const uint32_t *control_attach_types;	/* of each, bpf(2)'s; NULL: others' changes wake nobody */
	const struct cgfs_untouched *untouched;	/* NULL: the relay's other end is asked for all control files */
};

/* An ioctl on a control file. The caller waits in the kernel until it is answered. */
struct cgfs_control_ioctl {
	uint64_t unique;
	uint64_t node;		/* the control file's node id */
	uint64_t file_handle;	/* what the relay's other end answered to OPEN */
	uint32_t command;
	uint32_t tid, uid, gid;	/* the calling thread, 0 if it has no pid here; fsuid, fsgid */
	uint32_t open_flags;	/* unused by FUSE_IOCTL before 7.xx: 0 */
	uint32_t size;		/* bytes of data that came with it */
	uint8_t data[256];
};

/*
 * Open source and mount the mirror of it on mountpoint. Returns 0 or -errno; on success the mount exists, and answers
 * once cgfs_mirror_start was called.
 */
int cgfs_mirror_open(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
int cgfs_mirror_start(struct cgfs_mirror *mirror);
/*
 * The mirror is about to be unmounted: keep it no longer. It is kept, until its end is noticed, so that what others do
 * on cgroup2 raises inotify events on it. From here on it raises none.
 */
void cgfs_mirror_let_go(struct cgfs_mirror *mirror);
/*
 * Wait for the connection to end (unmount or abort), join all threads, close and free everything. Threads that wait for
 * a directory which somebody keeps locked are waited for a second or two; then they are left, and what they use with them.
 */
void cgfs_mirror_close(struct cgfs_mirror *mirror);

/* The relay's other end (borrowed): a SOCK_SEQPACKET socket that speaks as /dev/fuse does, INIT first (minor 13). */
int cgfs_mirror_relay_fd(const struct cgfs_mirror *mirror);
/* Readable (borrowed eventfd) when cgfs_mirror_next_ioctl has something, and when the connection has ended. */
int cgfs_mirror_ioctl_fd(const struct cgfs_mirror *mirror);
/* Take the oldest waiting ioctl. Returns 0, -EAGAIN if none waits, or -ENODEV if the connection has ended. */
int cgfs_mirror_next_ioctl(struct cgfs_mirror *mirror, struct cgfs_control_ioctl *ioctl);
/* Answer it: error 0 or a positive errno. Returns 0 or -errno (-ENOENT: the caller is gone). */
int cgfs_mirror_answer_ioctl(struct cgfs_mirror *mirror, uint64_t unique, int error);

/* The control file that was opened for reading, by the mirror itself, with that file handle; 0: none. */
uint64_t cgfs_mirror_reader_node(struct cgfs_mirror *mirror, uint64_t file_handle);

/* A descriptor (borrowed) of the cgroup2 mount, for open_by_handle_at; and the id that node 1 stands for. */
int cgfs_mirror_mount_fd(const struct cgfs_mirror *mirror);
uint64_t cgfs_mirror_source_id(const struct cgfs_mirror *mirror);

/*
 * Tell the kernel, and through it pollers and inotify watchers, that the content of a control file has changed.
 * May be called from any thread; never waits for a request of the mirror's own.
 */
void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node);

#endif
