/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What others do on cgroup2: how it is noticed (watch.c), and how the kernel and who watches are told. */
#ifndef CGFS_MIRROR_WATCH_H
#define CGFS_MIRROR_WATCH_H

#include <sys/fanotify.h>

#include "internal.h"

/* --- watch.c: what others change on the cgroup2 mount ----------------------------------------------------------------- */

int watch_start(struct cgfs_mirror *mirror);
/* Returns false if a thread is left behind, which uses the mirror until somebody gives back a lock. */
bool watch_stop(struct cgfs_mirror *mirror);
/*
 * How often files may have been taken away, as far as that has been counted: a file that was found after one count is there
 * while the count is the same, and everything has been counted. That is to be asked first. (backing.c has the exceptions.)
 */
uint64_t watch_removals(const struct cgfs_mirror *mirror);
/* With that, and in the same way, how often attributes may have been changed, extended ones included. */
struct counts {
	uint64_t removals, attributes;
};
struct counts watch_counts(const struct cgfs_mirror *mirror);
static inline bool is_same_count(const struct counts *one, const struct counts *other)
{
	return one->removals == other->removals && one->attributes == other->attributes;
}
/* Files have been taken away, or may have been. */
void watch_count_removal(const struct cgfs_mirror *mirror);
/* Whether all that was done before this call has been counted. */
bool watch_has_counted(const struct cgfs_mirror *mirror);
/* Wait until every event has been read that is there now; a second at most. */
void watch_read_events(struct cgfs_mirror *mirror);
/*
 * Wait until the kernel has been told to forget what was changed on cgroup2 before this call, by whomever, but in
 * directories that somebody keeps locked. Waits a second at most. Called by a handler after loop_may_block(), of a
 * request whose caller has no directory locked.
 */
void watch_settle(struct cgfs_mirror *mirror);

/* How many events are in the queue of fan_fd now: who reads so many has read each of them, and what came meanwhile keeps nobody. */
size_t events_in_queue(int fan_fd);
/*
 * The fanotify event at offset *at of buffer, copied to metadata since it need not be aligned, and *at moved behind it.
 * Returns what follows the metadata, metadata->event_len bytes with it; NULL at the end.
 */
const char *next_event(const char *buffer, size_t size, size_t *at, struct fanotify_event_metadata *metadata);

/* --- watch_switches.c: files that bring others, and take them away, by what is written to them ------------------------ */

bool is_switch(const char *name);
/* Somebody wrote to the file of that name in the directory dir (a node): if it is a switch, what comes of it is made known. */
void switch_written(struct cgfs_mirror *mirror, const char *name, uint64_t dir);
/*
 * The same for the file with that kernfs id, where the event did not say its name and directory: the kernel had dropped the
 * name, and found the file by handle, as it does for the mirror. Takes locks of directories.
 */
void switch_find(struct cgfs_mirror *mirror, uint64_t file);

/* --- watch_names.c: the names of files -------------------------------------------------------------------------------- */

int names_create(struct cgfs_mirror *mirror);
void names_destroy(struct cgfs_mirror *mirror);
/* The kernel is to keep a file's name. Returns false if it must not, since nobody could tell it to forget. */
bool names_add(const struct cgfs_mirror *mirror, const char *name);
/* The names there are, from *index (0 at first) on. Returns false at the end. */
bool names_next(const struct cgfs_mirror *mirror, size_t *index, const char **name);

/* --- stale.c: tells the kernel what it must not believe any more ------------------------------------------------------ */

enum stale_what {
	STALE_CREATED,		/* name was made in the directory */
	STALE_DELETED,		/* name, whose kernfs id was child, was removed from it */
	STALE_NODE,		/* the attributes of the node */
	STALE_EVENT,		/* and its content: an event of an events file */
	STALE_FILES,		/* files of the directory may have come or gone */
	STALE_CHILDREN,		/* the same in each of its child directories */
	STALE_NAMELESS,		/* perhaps either: the file with that kernfs id, whose name is not known, was written to */
	STALE_REMOVED,		/* the directory was removed through the mirror */
	STALE_ALL,		/* events were lost */
};
int stale_start(struct cgfs_mirror *mirror);
bool stale_stop(struct cgfs_mirror *mirror, const struct timespec *deadline);	/* as watch_stop() */
/* Never waits. name (copied) may be NULL. */
void stale_add(struct cgfs_mirror *mirror, enum stale_what what, uint64_t node, const char *name, uint64_t child);
/* Wait until all that was added before has been told, but where a directory is kept locked, or until the deadline. */
void stale_flush(struct cgfs_mirror *mirror, const struct timespec *deadline);

/* --- replay.c: inotify events for what FUSE does not see -------------------------------------------------------------- */

enum replay_what { REPLAY_MODIFIED, REPLAY_CREATED, REPLAY_DELETED };
int replay_start(struct cgfs_mirror *mirror);
/* Waits for what is being replayed, but not for long where somebody holds a lock; from then on nothing is. */
void replay_end(struct cgfs_mirror *mirror);
bool replay_stop(struct cgfs_mirror *mirror);	/* and free it; returns as watch_stop() */
/*
 * Let watchers on the mirror see that the node was modified (name NULL), or that name was made in or removed from that
 * directory; child is the kernfs id it had. Never waits.
 */
void replay_add(struct cgfs_mirror *mirror, enum replay_what what, uint64_t node, const char *name, uint64_t child);
/* Answer a request that a replay has made itself. Returns false if it is none, or is to be answered as any other. */
bool replay_answers(struct request *request);

#endif
