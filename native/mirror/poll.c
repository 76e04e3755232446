/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is answered to poll, select and epoll on the mirror's files. Waiting for a change is poll_waiter.c's.
 *
 * An open file whose reads come to us is polled on its own descriptor, and the answer is cgroup2's.
 *
 * Where the kernel passes the reads through, cgroup2 counts what has been seen on a descriptor that is not ours to ask.
 * So there is one of ours for each such open file that is polled. It is read when a change is reported; and the change
 * is reported until the process that asked has read the file, which fanotify tells (FAN_ACCESS: the event is there when
 * the read returns). What was seen before the first poll is not known: the first poll of an open file reports a
 * change, as cgroup2 does to those who have not read the file yet. When in doubt a change is reported.
 *
 * A control file reports a change until it is read, and at the first poll.
 *
 * Sources: fuse_file_poll in fs/fuse/file.c; kernfs_generic_poll and kernfs_seq_show in fs/kernfs/file.c;
 * psi_trigger_poll in kernel/sched/psi.c; fanotify(7).
 */
#include "poll.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "credentials.h"
#include "loop.h"
#include "watch.h"

/* What cgroup2 answers where nothing has changed, and where something has. */
#define QUIET (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)
#define CHANGED (QUIET | POLLPRI | POLLERR)

static void answer(struct request *request, short revents)
{
	struct fuse_poll_out out = {.revents = (uint16_t)revents};

	reply(request, &out, sizeof(out));
}

static short poll_now(int fd)
{
	struct pollfd now = {.fd = fd, .events = CHANGED};

	return poll(&now, 1, 0) < 0 ? CHANGED : now.revents;
}

/* --- files whose reads come to us ----------------------------------------------------------------------------------- */

/* Takes over file. */
static void poll_open_file(struct request *request, const struct fuse_poll_in *in, struct open_file *file)
{
	struct poller *poller = request->mirror->poller;
	bool waits = in->flags & FUSE_POLL_SCHEDULE_NOTIFY;
	struct waiter *waiter = waiter_get(request, in, waits);
	short revents = waits && !waiter ? CHANGED : 0;	/* without memory nobody would wake him */

	if (waiter) {
		pthread_mutex_lock(&poller->lock);
		if (!waiter->file) {
			file->references++;
			waiter->file = file;
			waiter->fd = file->fd;
		}
		pthread_mutex_unlock(&poller->lock);
		waiter_arm(poller, waiter, in);
		pthread_mutex_lock(&poller->lock);
		if (waiter->taken)
			revents = POLLPRI;
		waiter->taken = false;
		pthread_mutex_unlock(&poller->lock);
	}
	answer(request, (short)(revents | poll_now(file->fd)));
	if (waiter)
		waiter_put(poller, waiter);
	file_put(file);
}

/* --- files whose reads the kernel passes through ----------------------------------------------------------------------- */

/* The process that asks; 0 if it cannot be seen. */
static uint32_t process_of(const struct request *request)
{
	struct credentials credentials;
	int error = credentials_read(&request->caller, &credentials);
	uint32_t process = error ? 0 : credentials.tgid;

	credentials_free(&credentials);
	return process;
}

/* Called with the lock held. */
static void note_read(struct poller *poller, const struct fanotify_event_metadata *event, const char *details)
{
	const struct fanotify_event_info_fid *info = (const struct fanotify_event_info_fid *)details;
	const struct file_handle *handle = (const struct file_handle *)info->handle;
	struct waiter *waiter = NULL;
	uint64_t id;

	if (event->mask & FAN_Q_OVERFLOW || event->event_len <= event->metadata_len ||
	    handle->handle_bytes != sizeof(id))
		return;
	memcpy(&id, handle->f_handle, sizeof(id));
	while ((waiter = waiter_find(poller, BY_KERNFS_ID, id, waiter))) {
		if (waiter->process && waiter->process == (uint32_t)event->pid)	/* 0: somebody whom we do not see */
			waiter->read = true;
	}
}

/* Find out who has read what since the last time. Returns whether the waiter's process is among them. */
static bool note_reads(struct poller *poller, struct waiter *waiter)
{
	char buffer[4096] __attribute__((aligned(4)));
	size_t n, n_read = 0;
	ssize_t size;
	bool has_read;

	pthread_mutex_lock(&poller->lock);
	n = events_in_queue(poller->fan_fd);
	while (n_read < n && (size = read(poller->fan_fd, buffer, sizeof(buffer))) > 0) {
		struct fanotify_event_metadata event;
		const char *details;

		for (size_t at = 0; (details = next_event(buffer, (size_t)size, &at, &event)); n_read++) {
			/* Our own descriptors are read, too. */
			if ((uint32_t)event.pid != poller->pid)
				note_read(poller, &event, details);
		}
	}
	has_read = waiter->read;
	waiter->read = false;
	pthread_mutex_unlock(&poller->lock);
	return has_read;
}

/* Let our descriptor count as having seen what there is now. */
static void see(int fd)
{
	char text[4096];
	ssize_t ignored = pread(fd, text, sizeof(text), 0);

	(void)ignored;
}

/* A descriptor of our own to poll. Returns 0 or -errno. */
static int open_own(const struct request *request, struct waiter *waiter)
{
	struct poller *poller = request->mirror->poller;
	int fd = node_open(request->mirror, waiter->node, O_RDONLY);

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&poller->lock);
	waiter->fd = fd;
	/* Without the mark, a change would be reported for ever: never lost. */
	fanotify_mark(poller->fan_fd, FAN_MARK_ADD, FAN_ACCESS, fd, NULL);
	pthread_mutex_unlock(&poller->lock);
	return 0;
}

/* Whether a change is to be reported. Called with the waiter's answering held. */
static bool has_changed(struct poller *poller, struct waiter *waiter, bool first)
{
	if (first || poll_now(waiter->fd) & POLLPRI) {
		/* A read that has been seen by now may have come before the change. */
		see(waiter->fd);
		note_reads(poller, waiter);
		waiter->reported = true;
	} else if (waiter->reported && note_reads(poller, waiter)) {
		/* Read after our descriptor was; and since then nothing has changed. */
		waiter->reported = poll_now(waiter->fd) & POLLPRI;
	}
	return waiter->reported;
}

static void poll_passed(struct request *request, const struct fuse_poll_in *in)
{
	struct poller *poller = request->mirror->poller;
	struct waiter *waiter = waiter_get(request, in, true);
	uint32_t process = process_of(request);
	bool changed = true, first;

	if (!waiter) {
		answer(request, CHANGED);
		return;
	}
	pthread_mutex_lock(&waiter->answering);
	pthread_mutex_lock(&poller->lock);
	waiter->process = process;
	pthread_mutex_unlock(&poller->lock);
	first = waiter->fd < 0;
	/* Of a cgroup that is gone, cgroup2 reports a change for ever. */
	if (!first || !open_own(request, waiter)) {
		waiter_arm(poller, waiter, in);
		changed = has_changed(poller, waiter, first);
	}
	pthread_mutex_unlock(&waiter->answering);
	answer(request, changed ? CHANGED : QUIET);
	waiter_put(poller, waiter);
}

uint64_t poller_handle(struct cgfs_mirror *mirror)
{
	return HANDLE_OF_POLLER | mirror->poller->next_handle++;
}

/* --- control files ---------------------------------------------------------------------------------------------------- */

static void poll_control(struct request *request, const struct fuse_poll_in *in)
{
	struct poller *poller = request->mirror->poller;
	struct waiter *waiter = waiter_get(request, in, true);
	uint64_t fingerprint;
	bool changed;

	if (!waiter) {
		answer(request, CHANGED);
		return;
	}
	waiter_arm(poller, waiter, in);
	fingerprint = control_fingerprint(request->mirror, waiter->node);
	pthread_mutex_lock(&poller->lock);
	if (waiter->fingerprint != fingerprint) {
		waiter->fingerprint = fingerprint;
		waiter->changed = true;
	}
	changed = waiter->changed;
	pthread_mutex_unlock(&poller->lock);
	answer(request, changed ? CHANGED : QUIET);
	waiter_put(poller, waiter);
}

/* A change from here on has not been seen. */
void poller_control_read(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle)
{
	struct poller *poller = mirror->poller;
	struct waiter *waiter = NULL;
	uint64_t fingerprint;

	if (!poller->n_waiters)
		return;
	pthread_mutex_lock(&poller->lock);
	waiter = waiter_find(poller, BY_FILE_HANDLE, file_handle, NULL);
	pthread_mutex_unlock(&poller->lock);
	if (!waiter)
		return;
	waiter = NULL;
	fingerprint = control_fingerprint(mirror, node);
	pthread_mutex_lock(&poller->lock);
	while ((waiter = waiter_find(poller, BY_FILE_HANDLE, file_handle, waiter))) {
		if (waiter->node == node) {
			waiter->fingerprint = fingerprint;
			waiter->changed = false;
		}
	}
	pthread_mutex_unlock(&poller->lock);
}

/* --- the request, start and end --------------------------------------------------------------------------------------- */

void handle_poll(struct request *request)
{
	const struct fuse_poll_in *in = request->body;
	struct open_file *file = NULL;

	if (node_is_control(request->header->nodeid)) {
		poll_control(request, in);
		return;
	}
	if (!(in->fh & HANDLE_OF_POLLER))
		file = file_get(request->mirror, request->header->nodeid, in->fh);
	if (file)
		poll_open_file(request, in, file);
	else
		poll_passed(request, in);
}

int poller_create(struct cgfs_mirror *mirror)
{
	struct poller *poller = calloc(1, sizeof(*poller));

	if (!poller)
		return -ENOMEM;
	poller->mirror = mirror;
	poller->pid = (uint32_t)getpid();
	pthread_mutex_init(&poller->lock, NULL);
	mirror->poller = poller;
	poller->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	poller->fan_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY);
	return poller->wake_fd < 0 || poller->fan_fd < 0 ? -errno : 0;
}

int poller_start(struct cgfs_mirror *mirror)
{
	struct poller *poller = mirror->poller;
	int error = start_thread(&poller->thread, wake_main, poller);

	poller->started = error == 0;
	return error;
}

void poller_destroy(struct cgfs_mirror *mirror)
{
	struct poller *poller = mirror->poller;
	struct waiter *waiter;

	pthread_mutex_lock(&poller->lock);
	poller->ended = true;
	pthread_mutex_unlock(&poller->lock);
	if (poller->started) {
		eventfd_write(poller->wake_fd, 1);
		pthread_join(poller->thread, NULL);
	}
	for (uint64_t key = ALL_OTHERS; key <= ALL_CONTROLS; key++) {
		while ((waiter = waiter_find(poller, ALL, key, NULL))) {
			waiter_unlink(poller, waiter);
			waiter_put(poller, waiter);
		}
	}
	close_fd(&poller->wake_fd);
	close_fd(&poller->fan_fd);
	pthread_mutex_destroy(&poller->lock);
	free(poller);
	mirror->poller = NULL;
}
