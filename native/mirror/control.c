/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ioctls on control files, in the order in which they came, until somebody takes them. Their callers wait. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

struct waiting_ioctl {
	struct cgfs_control_ioctl ioctl;
	struct waiting_ioctl *next;
};

struct control_queue {
	pthread_mutex_t lock;		/* guards the rest; taken before no other */
	struct waiting_ioctl *first;
	struct waiting_ioctl **last;	/* where the next one is to be linked */
	bool ended;
	int event_fd;			/* readable while there is one, and for ever when ended */
};

int control_queue_create(struct cgfs_mirror *mirror)
{
	struct control_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return -ENOMEM;
	queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->event_fd < 0) {
		error = -errno;
		free(queue);
		return error;
	}
	pthread_mutex_init(&queue->lock, NULL);
	queue->last = &queue->first;
	mirror->ioctls = queue;
	return 0;
}

/* Called with the lock held. */
static void signal_event(struct control_queue *queue)
{
	eventfd_write(queue->event_fd, 1);
}

/* Called with the lock held: nothing waits any more. */
static void clear_event(struct control_queue *queue)
{
	eventfd_t count;

	eventfd_read(queue->event_fd, &count);
}

/* Called with the lock held. Unlinks and returns the one that *link points to. */
static struct waiting_ioctl *take(struct control_queue *queue, struct waiting_ioctl **link)
{
	struct waiting_ioctl *taken = *link;

	*link = taken->next;
	if (!*link)
		queue->last = link;
	if (!queue->first && !queue->ended)
		clear_event(queue);
	return taken;
}

void control_queue_end(struct cgfs_mirror *mirror)
{
	struct control_queue *queue = mirror->ioctls;

	pthread_mutex_lock(&queue->lock);
	queue->ended = true;
	signal_event(queue);
	pthread_mutex_unlock(&queue->lock);
}

void control_queue_destroy(struct cgfs_mirror *mirror)
{
	struct control_queue *queue = mirror->ioctls;

	if (!queue)
		return;
	while (queue->first)
		free(take(queue, &queue->first));
	close(queue->event_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
	mirror->ioctls = NULL;
}

/* The kernel sends as many bytes as the command's number says: more than fit is no command of ours. */
void handle_control_ioctl(struct request *request)
{
	const struct fuse_ioctl_in *in = request->body;
	const struct fuse_in_header *header = request->header;
	struct control_queue *queue = request->mirror->ioctls;
	struct waiting_ioctl *waiting;

	if (in->in_size > sizeof(waiting->ioctl.data) || in->in_size > request->body_size - sizeof(*in)) {
		reply_error(request, -ENOTTY);
		return;
	}
	waiting = calloc(1, sizeof(*waiting));
	if (!waiting) {
		reply_error(request, -ENOMEM);
		return;
	}
	waiting->ioctl = (struct cgfs_control_ioctl){
		.unique = header->unique,
		.node = header->nodeid,
		.file_handle = in->fh,
		.command = in->cmd,
		.tid = header->pid,
		.uid = header->uid,
		.gid = header->gid,
		.size = in->in_size,
	};
	memcpy(waiting->ioctl.data, in + 1, in->in_size);
	pthread_mutex_lock(&queue->lock);
	*queue->last = waiting;
	queue->last = &waiting->next;
	signal_event(queue);
	pthread_mutex_unlock(&queue->lock);
}

static int answer(const struct cgfs_mirror *mirror, uint64_t unique, int error)
{
	struct {
		struct fuse_out_header header;
		struct fuse_ioctl_out body;
	} message = {.header = {.unique = unique, .error = -error}};
	struct iovec part = {.iov_base = &message};

	part.iov_len = error ? sizeof(message.header) : sizeof(message);
	message.header.len = (uint32_t)part.iov_len;
	return send_message(mirror, &part, 1);
}

void control_queue_interrupt(struct cgfs_mirror *mirror, uint64_t unique)
{
	struct control_queue *queue = mirror->ioctls;
	struct waiting_ioctl **link, *taken = NULL;

	pthread_mutex_lock(&queue->lock);
	for (link = &queue->first; *link; link = &(*link)->next) {
		if ((*link)->ioctl.unique == unique) {
			taken = take(queue, link);
			break;
		}
	}
	pthread_mutex_unlock(&queue->lock);
	if (!taken)
		return;
	answer(mirror, unique, EINTR);
	free(taken);
}

int cgfs_mirror_ioctl_fd(const struct cgfs_mirror *mirror)
{
	return mirror->ioctls->event_fd;
}

int cgfs_mirror_next_ioctl(struct cgfs_mirror *mirror, struct cgfs_control_ioctl *ioctl)
{
	struct control_queue *queue = mirror->ioctls;
	struct waiting_ioctl *taken = NULL;
	bool ended;

	pthread_mutex_lock(&queue->lock);
	ended = queue->ended;
	/* Those who wait at the end have been answered by the kernel. */
	if (queue->first && !ended)
		taken = take(queue, &queue->first);
	pthread_mutex_unlock(&queue->lock);
	if (!taken)
		return ended ? -ENODEV : -EAGAIN;
	*ioctl = taken->ioctl;
	free(taken);
	return 0;
}

int cgfs_mirror_answer_ioctl(struct cgfs_mirror *mirror, uint64_t unique, int error)
{
	return answer(mirror, unique, error < 0 || error >= 512 ? EIO : error);
}

void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node)
{
	poller_control_changed(mirror, node);
	replay_add(mirror, REPLAY_MODIFIED, node, NULL, 0);
}
