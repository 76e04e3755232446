/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror: a FUSE server, in C threads, that shows a cgroup2 directory and adds control files to each directory.
 * It owns /dev/fuse and the mount. What a control file says and does is decided elsewhere (struct cgfs_control_operations).
 */
#ifndef CGFS_MIRROR_H
#define CGFS_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../caller.h"

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
	const uint32_t *control_attach_types;	/* of each, bpf(2)'s; NULL: others' changes wake nobody, and no answer is given twice */
	const struct cgfs_untouched *untouched;	/* NULL: all that a control file is and says is asked for, each time */
};

/* What a control file is at one moment. Times are nanoseconds of CLOCK_REALTIME. */
struct cgfs_control_snapshot {
	uint32_t uid, gid;
	uint32_t mode;			/* permission bits */
	uint64_t modified_ns;		/* of the last change of the content */
	uint64_t changed_ns;		/* of the last change of that or of anything else */
	/*
	 * For as long as nothing else is attached, and the notes (of struct cgfs_untouched) and the owner of
	 * cgroup.controllers are the same, nobody need ask again.
	 */
	bool lasting;
};

/* What chmod and chown want; -1: that it stays as it is. */
struct cgfs_control_change {
	int64_t mode, uid, gid;
};

/*
 * What decides about control files; each node is one of theirs. Called in the mirror's threads, several at a time, while the
 * caller waits in the kernel. Each call may take as long as it likes, and returns 0 or -errno, unless said otherwise. Nobody
 * waits for ended, whose result means nothing. opener is who opened the file for writing.
 */
struct cgfs_control_operations {
	/* Puts what the file says into content, and returns the size of that, at most room. */
	int (*snapshot)(void *context, uint64_t node, struct cgfs_control_snapshot *snapshot, char *content, uint32_t room);
	int (*setattr)(void *context, uint64_t node, const struct cgfs_caller *caller, const struct cgfs_control_change *change);
	int (*write)(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
		     const char *data, uint32_t size);
	/* opener NULL: the file is not open for writing. */
	int (*ioctl)(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
		     uint32_t command, const void *data, uint32_t size);
	/* The connection has: nothing is asked any more. */
	int (*ended)(void *context);
};

/*
 * Open source and mount the mirror of it on mountpoint. Returns 0 or -errno; on success the mount exists, and answers
 * once cgfs_mirror_start was called.
 */
int cgfs_mirror_open(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
/* Both have to be there until cgfs_mirror_close has returned, and for ever if it has left threads. */
int cgfs_mirror_start(struct cgfs_mirror *mirror, const struct cgfs_control_operations *control, void *context);
/*
 * The mirror is about to be unmounted: keep it no longer. It is kept, until its end is noticed, so that what others do
 * on cgroup2 raises inotify events on it. From here on it raises none.
 */
void cgfs_mirror_let_go(struct cgfs_mirror *mirror);
/*
 * Wait for the connection to end (unmount or abort), where it was started, join all threads, close and free everything. What
 * was mounted and not started the caller unmounts. Threads that wait for a directory which somebody keeps locked are waited
 * for a second or two; then they are left, and what they use with them.
 */
void cgfs_mirror_close(struct cgfs_mirror *mirror);

/* What st_dev is on the mirror, as makedev(3) says it. */
uint64_t cgfs_mirror_device(const struct cgfs_mirror *mirror);
/* A descriptor (borrowed) of the cgroup2 mount, for open_by_handle_at; and the id that node 1 stands for. */
int cgfs_mirror_mount_fd(const struct cgfs_mirror *mirror);
uint64_t cgfs_mirror_source_id(const struct cgfs_mirror *mirror);

/*
 * Tell the kernel, and through it pollers and inotify watchers, that the content of a control file has changed.
 * May be called from any thread; never waits for a request of the mirror's own.
 */
void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node);

#endif
