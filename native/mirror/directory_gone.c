/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What to answer about a file or directory that is gone.
 *
 * Who came by a path is told ESTALE: the kernel looks all its names up anew, once, and what has the same name now is found. Who
 * came by no path, but has the directory open, or as his working directory, is to get ENOENT, as on cgroup2. That is who comes
 * back with the same question when the kernel has forgotten the directory's name. Neither is enough: who has not been told may
 * have passed the name before it was forgotten, and who has been told may come by it until it is.
 *
 * So whoever is told waits until the name is forgotten; but not for long, since he may have the lock that is taken for that. The
 * event of a removal is in the queue when rmdir(2) returns.
 *
 * The last directories are kept, and who was told, each at a place by thread and node: a new one takes the place of whoever is
 * there, who is told once more. So are threads that are not to be seen, each time: they cannot be told from each other.
 */
#include <stdlib.h>

#include "files.h"
#include "hash.h"
#include "monotonic.h"
#include "watch.h"

#define N_DIRECTORIES 1024
#define PLACE_BITS 10
#define FORGET_MS 100

struct gone_directory {
	uint64_t node;		/* 0: none */
	bool is_forgotten;	/* the kernel does not believe its name any more */
};

struct told {
	uint32_t tid;
	uint64_t node;		/* 0: nobody */
};

struct gone {
	pthread_mutex_t lock;		/* guards the rest; no other is taken under it */
	pthread_cond_t forgotten;	/* another one is */
	struct gone_directory directories[N_DIRECTORIES];	/* the newest is before next */
	size_t next;
	struct told told[1 << PLACE_BITS];
};

int gone_create(struct cgfs_mirror *mirror)
{
	mirror->gone = calloc(1, sizeof(*mirror->gone));
	if (!mirror->gone)
		return -ENOMEM;
	pthread_mutex_init(&mirror->gone->lock, NULL);
	init_monotonic(&mirror->gone->forgotten);
	return 0;
}

void gone_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->gone)
		return;
	pthread_cond_destroy(&mirror->gone->forgotten);
	pthread_mutex_destroy(&mirror->gone->lock);
	free(mirror->gone);
	mirror->gone = NULL;
}

/* --- directories: lock held ------------------------------------------------------------------------------------------- */

/* NULL: it is not known to be gone. */
static struct gone_directory *find(struct gone *gone, uint64_t node)
{
	for (size_t i = 0; i < N_DIRECTORIES; i++) {
		if (gone->directories[i].node == node)
			return &gone->directories[i];
	}
	return NULL;
}

static bool is_forgotten(struct gone *gone, uint64_t node)
{
	const struct gone_directory *directory = find(gone, node);

	return directory && directory->is_forgotten;
}

/* Whether it may be before that time. */
static bool is_to_be_forgotten(struct gone *gone, uint64_t node, const struct timespec *deadline)
{
	const struct gone_directory *directory = find(gone, node);

	return directory && !directory->is_forgotten && !is_past(deadline);
}

/* --- what the watcher tells ------------------------------------------------------------------------------------------- */

void gone_note(struct cgfs_mirror *mirror, uint64_t node, bool is_forgotten)
{
	struct gone *gone = mirror->gone;

	pthread_mutex_lock(&gone->lock);
	gone->directories[gone->next++ % N_DIRECTORIES] = (struct gone_directory){.node = node, .is_forgotten = is_forgotten};
	pthread_mutex_unlock(&gone->lock);
}

void gone_note_forgotten(struct cgfs_mirror *mirror, uint64_t node)
{
	struct gone *gone = mirror->gone;
	struct gone_directory *directory;

	pthread_mutex_lock(&gone->lock);
	directory = find(gone, node);
	if (directory)
		directory->is_forgotten = true;
	pthread_cond_broadcast(&gone->forgotten);
	pthread_mutex_unlock(&gone->lock);
}

/* --- who asks --------------------------------------------------------------------------------------------------------- */

/* Whether the request's caller has been told before; he has been now. Lock held. */
static bool tell(struct gone *gone, const struct request *request)
{
	const struct told told = {.tid = request->header->pid, .node = request->header->nodeid};
	struct told *place = &gone->told[hash_id(told.node ^ (uint64_t)told.tid << 32, PLACE_BITS)];
	bool is_back = told.tid && place->tid == told.tid && place->node == told.node;

	*place = told;
	return is_back;
}

static void wait_until_forgotten(struct request *request)
{
	struct gone *gone = request->mirror->gone;
	struct timespec deadline;

	loop_may_block(request);
	watch_read_events(request->mirror);
	deadline = after_ms(FORGET_MS);
	pthread_mutex_lock(&gone->lock);
	while (is_to_be_forgotten(gone, request->header->nodeid, &deadline))
		pthread_cond_timedwait(&gone->forgotten, &gone->lock, &deadline);
	pthread_mutex_unlock(&gone->lock);
}

int gone_error(struct request *request)
{
	struct gone *gone = request->mirror->gone;
	bool forgotten, is_back;

	pthread_mutex_lock(&gone->lock);
	forgotten = is_forgotten(gone, request->header->nodeid);
	is_back = tell(gone, request);
	pthread_mutex_unlock(&gone->lock);
	if (forgotten && is_back)
		return -ENOENT;
	if (!forgotten)
		wait_until_forgotten(request);
	return -ESTALE;
}
