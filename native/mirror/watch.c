/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sees, by fanotify, what others do on cgroup2, so that the kernel need not ask about each name again and again.
 *
 * The events name directories and files by handle, which is the kernfs id. What this process has done is known to
 * the kernel already, but for the files that come and go by what is written to others (watch_switches.c).
 *
 * What it writes to other files than those, and what the kernel writes in its stead (passthrough), is no event: that goes by a
 * copy of cgroup2's mount that is nobody else's, and is left out, if there is one. What makes, removes and truncates files and
 * changes their attributes is an event, whoever does it. So the queue is empty while nobody does any of that, nor writes
 * elsewhere, and what was seen before is so (watch_has_counted()).
 *
 * Sources: fanotify(7); kernfs_notify_workfn in fs/kernfs/file.c.
 */
#include "watch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "files.h"
#include "loop.h"
#include "monotonic.h"

#define MASK (FAN_CREATE | FAN_DELETE | FAN_ATTRIB | FAN_MODIFY | FAN_ONDIR)
/* Of what is marked so, which is our copy of the mount, the events of a mask are none. */
#define LEAVE_OUT (FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY)
/*
 * After events no more are read for so long: the kernel merges those that say the same, and who writes to cgroup2 in
 * a loop does not wake this thread each time.
 */
#define PAUSE_MS 4
#define SETTLE_MS 1000		/* usually less than one */
#define END_MS 1000

struct watch {
	int fan_fd;
	int wake_fd;			/* eventfd: settled is waited for, or the end has come */
	pid_t pid;			/* ours */
	pthread_t thread;
	bool started;
	_Atomic(bool) reading;		/* events that have been read may not have been counted yet */
	_Atomic(uint64_t) removals;	/* what took files away, or may have */
	_Atomic(uint64_t) attributes;	/* what changed attributes, extended ones included, or may have */
	uint64_t let_go;		/* removals, when what is kept of files was let go last; the thread's own */
	pthread_mutex_t lock;		/* guards what follows; taken before no other */
	pthread_cond_t changed;		/* settled has grown, or the end */
	uint64_t asked, settled;	/* all that was to be read at the asked-th asking has been read */
	bool ended;
};

/* --- events ---------------------------------------------------------------------------------------------------------- */

struct event {
	uint64_t mask;
	bool ours;
	bool on_directory;
	uint64_t dir;		/* kernfs ids; 0: not said */
	uint64_t child;
	const char *name;	/* of the child; NULL: not said; ".": the directory itself */
};

static uint64_t id_of(const struct file_handle *handle)
{
	uint64_t id = 0;

	if (handle->handle_bytes == sizeof(id))
		memcpy(&id, handle->f_handle, sizeof(id));
	return id;
}

/* Source: fanotify_ioctl() in fs/notify/fanotify/fanotify_user.c, which counts the metadata only. */
size_t events_in_queue(int fan_fd)
{
	int size = 0;

	return ioctl(fan_fd, FIONREAD, &size) < 0 ? 0 : (size_t)size / sizeof(struct fanotify_event_metadata);
}

const char *next_event(const char *buffer, size_t size, size_t *at, struct fanotify_event_metadata *metadata)
{
	const char *start = buffer + *at;

	if (size - *at < sizeof(*metadata))
		return NULL;
	memcpy(metadata, start, sizeof(*metadata));
	if (metadata->event_len < metadata->metadata_len || metadata->event_len > size - *at)
		return NULL;
	*at += metadata->event_len;
	return start + metadata->metadata_len;
}

static struct event event_of(const struct watch *watch, const struct fanotify_event_metadata *metadata, const char *at)
{
	const char *end = at + metadata->event_len - metadata->metadata_len;
	struct event event = {
		.mask = metadata->mask,
		.ours = metadata->pid == watch->pid,
		.on_directory = metadata->mask & FAN_ONDIR,
	};

	while (at < end) {
		const struct fanotify_event_info_fid *info = (const struct fanotify_event_info_fid *)at;
		const struct file_handle *handle = (const struct file_handle *)info->handle;

		if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_FID) {
			event.child = id_of(handle);
		} else if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
			event.dir = id_of(handle);
			event.name = (const char *)handle->f_handle + handle->handle_bytes;
		}
		at += info->hdr.len;
	}
	return event;
}

void watch_count_removal(const struct cgfs_mirror *mirror)
{
	mirror->watch->removals++;
}

/* Somebody wrote to the file, or the kernel says that what it shows has changed. */
static void on_modified(struct cgfs_mirror *mirror, const struct event *event)
{
	switch_written(mirror, event->name, node_id(mirror, NULL, event->dir));
	if (!event->ours && event->child)
		stale_add(mirror, kind_of_name(event->name) == KIND_EVENTS ? STALE_EVENT : STALE_NODE,
			  node_id(mirror, event->name, event->child), NULL, 0);
}

static void on_event(struct cgfs_mirror *mirror, const struct event *event)
{
	if (event->mask & FAN_Q_OVERFLOW) {
		mirror->watch->removals++;
		mirror->watch->attributes++;
		stale_add(mirror, STALE_ALL, FUSE_ROOT_ID, NULL, 0);
		return;
	}
	if (event->mask & FAN_ATTRIB)
		mirror->watch->attributes++;
	if (event->mask & FAN_MODIFY && event->child && !event->name) {
		mirror->watch->removals++;
		stale_add(mirror, STALE_NAMELESS, event->child, NULL, 0);
	}
	if (!event->dir || !event->name)
		return;
	if (event->mask & FAN_MODIFY)
		on_modified(mirror, event);
	if (event->mask & FAN_DELETE) {
		mirror->watch->removals++;
		gone_note(mirror, node_id(mirror, NULL, event->child), event->ours);
	}
	if (event->ours)
		return;
	/* Merged events may say both: what is made anew is another directory, of another id. */
	if (event->mask & FAN_DELETE)
		stale_add(mirror, STALE_DELETED, node_id(mirror, NULL, event->dir), event->name, event->child);
	if (event->mask & FAN_CREATE)
		stale_add(mirror, STALE_CREATED, node_id(mirror, NULL, event->dir), event->name, 0);
	if (event->mask & FAN_ATTRIB) {
		if (strcmp(event->name, ".") == 0)
			stale_add(mirror, STALE_NODE, node_id(mirror, NULL, event->dir), NULL, 0);
		else if (event->child)
			stale_add(mirror, STALE_NODE,
				  node_id(mirror, event->on_directory ? NULL : event->name, event->child), NULL, 0);
	}
}

/* Read all events that there are now: who writes in a loop makes new ones for ever. Returns whether there was any. */
static bool read_events(struct cgfs_mirror *mirror)
{
	char buffer[16384] __attribute__((aligned(4)));
	struct watch *watch = mirror->watch;
	size_t n = events_in_queue(watch->fan_fd), n_read = 0;
	ssize_t size;

	watch->reading = true;
	while (n_read < n && (size = read(watch->fan_fd, buffer, sizeof(buffer))) > 0) {
		struct fanotify_event_metadata metadata;
		const char *details;

		for (size_t at = 0; (details = next_event(buffer, (size_t)size, &at, &metadata)); n_read++) {
			struct event event = event_of(watch, &metadata, details);

			on_event(mirror, &event);
		}
	}
	watch->reading = false;
	if (watch->removals != watch->let_go) {
		watch->let_go = watch->removals;
		backings_let_go(mirror);
		kept_let_go(mirror);
	}
	return n_read;
}

/*
 * The event of a removal, or of new attributes, is in the queue when the system call that did it returns. Then it is being read,
 * and then counted: asked in this order, it is found.
 */
bool watch_has_counted(const struct cgfs_mirror *mirror)
{
	struct watch *watch = mirror->watch;
	struct pollfd queue;

	if (!watch || watch->reading)	/* spares the system call; what counts is that it is so afterwards */
		return false;
	/* Not FIONREAD, which takes as long as the queue is. */
	queue = (struct pollfd){.fd = watch->fan_fd, .events = POLLIN};
	return poll(&queue, 1, 0) == 0 && !watch->reading;
}

uint64_t watch_removals(const struct cgfs_mirror *mirror)
{
	return mirror->watch ? mirror->watch->removals : 0;
}

struct counts watch_counts(const struct cgfs_mirror *mirror)
{
	const struct watch *watch = mirror->watch;

	return watch ? (struct counts){.removals = watch->removals, .attributes = watch->attributes} : (struct counts){};
}

static void *watch_main(void *argument)
{
	struct cgfs_mirror *mirror = argument;
	struct watch *watch = mirror->watch;
	struct pollfd ready[2] = {{.fd = watch->wake_fd, .events = POLLIN}, {.fd = watch->fan_fd, .events = POLLIN}};
	bool any = false;
	eventfd_t count;
	uint64_t asked;

	pthread_mutex_lock(&watch->lock);
	while (!watch->ended) {
		pthread_mutex_unlock(&watch->lock);
		poll(ready, any ? 1 : 2, any ? PAUSE_MS : -1);
		eventfd_read(watch->wake_fd, &count);
		pthread_mutex_lock(&watch->lock);
		asked = watch->asked;
		pthread_mutex_unlock(&watch->lock);
		any = read_events(mirror);
		pthread_mutex_lock(&watch->lock);
		watch->settled = asked;
		pthread_cond_broadcast(&watch->changed);
	}
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

/* Wait until every event is read that is there now, or until the deadline. */
static void wait_for_events(struct watch *watch, const struct timespec *deadline)
{
	uint64_t ticket;
	int error = 0;

	pthread_mutex_lock(&watch->lock);
	ticket = ++watch->asked;
	eventfd_write(watch->wake_fd, 1);
	while (watch->settled < ticket && !watch->ended && !error)
		error = pthread_cond_timedwait(&watch->changed, &watch->lock, deadline);
	pthread_mutex_unlock(&watch->lock);
}

void watch_read_events(struct cgfs_mirror *mirror)
{
	struct timespec deadline = after_ms(SETTLE_MS);

	if (mirror->watch)
		wait_for_events(mirror->watch, &deadline);
}

/* The event of a write is in the queue when the write returns. */
void watch_settle(struct cgfs_mirror *mirror)
{
	struct timespec deadline = after_ms(SETTLE_MS);

	wait_for_events(mirror->watch, &deadline);
	stale_flush(mirror, &deadline);
}

/* --- start and stop --------------------------------------------------------------------------------------------------- */

static struct watch *watch_allocate(void)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->fan_fd = watch->wake_fd = -1;
	watch->pid = getpid();
	pthread_mutex_init(&watch->lock, NULL);
	init_monotonic(&watch->changed);
	return watch;
}

static int open_descriptors(struct cgfs_mirror *mirror)
{
	struct watch *watch = mirror->watch;

	watch->fan_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_UNLIMITED_QUEUE | FAN_CLOEXEC | FAN_NONBLOCK |
				      FAN_REPORT_DFID_NAME_TARGET, O_RDONLY);
	if (watch->fan_fd < 0)
		return -errno;
	watch->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch->wake_fd < 0)
		return -errno;
	if (fanotify_mark(watch->fan_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, MASK, mirror->source_fd, NULL) < 0)
		return -errno;
	if (!mirror->has_copy)
		return 0;
	return fanotify_mark(watch->fan_fd, LEAVE_OUT, FAN_MODIFY, mirror->source_fd, NULL) < 0 ? -errno : 0;
}

int watch_start(struct cgfs_mirror *mirror)
{
	int error;

	mirror->watch = watch_allocate();
	if (!mirror->watch)
		return -ENOMEM;
	error = open_descriptors(mirror);
	if (!error)
		error = stale_start(mirror);
	if (!error)
		error = start_thread(&mirror->watch->thread, watch_main, mirror);
	mirror->watch->started = error == 0;
	return error;
}

bool watch_stop(struct cgfs_mirror *mirror)
{
	struct watch *watch = mirror->watch;
	struct timespec deadline = after_ms(END_MS);

	pthread_mutex_lock(&watch->lock);
	watch->ended = true;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	if (watch->wake_fd >= 0)
		eventfd_write(watch->wake_fd, 1);
	if (watch->started)
		pthread_join(watch->thread, NULL);
	if (mirror->stale && !stale_stop(mirror, &deadline))
		return false;
	close_fd(&watch->fan_fd);
	close_fd(&watch->wake_fd);
	pthread_cond_destroy(&watch->changed);
	pthread_mutex_destroy(&watch->lock);
	free(watch);
	mirror->watch = NULL;
	return true;
}
