/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that tell the kernel what it must not believe any more (notify.c).
 *
 * They do nothing else: the kernel takes the lock of a directory to invalidate a name in it, and whoever holds that
 * lock may wait for an answer of ours. What concerns one directory is told by one thread, in the order in which it was
 * added; a thread that waits holds up a part of the others only.
 *
 * All is told twice. An answer that was made before a change may reach the kernel after it was told of the change, and
 * would be believed for long.
 */
#include "stale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

#define N_LANES 4
#define AGAIN_NS (200 * 1000 * 1000L)

struct list {
	struct stale_item *first;
	struct stale_item **last;	/* where the next one is to be linked */
};

struct lane {
	struct cgfs_mirror *mirror;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;	/* guards what follows; taken before no other */
	pthread_cond_t work;	/* something was added, or the end */
	pthread_cond_t done;	/* told has grown */
	struct list fresh;
	struct list repeats;	/* in the order of their time */
	uint64_t added, told;	/* items, fresh ones only */
	bool ended;
};

struct stale {
	struct lane lanes[N_LANES];
};

/* --- the lanes ----------------------------------------------------------------------------------------------------------- */

static void list_add(struct list *list, struct stale_item *item)
{
	item->next = NULL;
	*list->last = item;
	list->last = &item->next;
}

static struct stale_item *list_take(struct list *list)
{
	struct stale_item *item = list->first;

	list->first = item->next;
	if (!list->first)
		list->last = &list->first;
	return item;
}

static void list_free(struct list *list)
{
	while (list->first)
		free(list_take(list));
}

static bool is_past(const struct timespec *when)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > when->tv_sec || (now.tv_sec == when->tv_sec && now.tv_nsec >= when->tv_nsec);
}

static void tell_fresh(struct lane *lane)
{
	struct stale_item *item = list_take(&lane->fresh);

	pthread_mutex_unlock(&lane->lock);
	stale_tell(lane->mirror, item, true);
	clock_gettime(CLOCK_MONOTONIC, &item->again);
	item->again.tv_nsec += AGAIN_NS;
	if (item->again.tv_nsec >= 1000 * 1000 * 1000) {
		item->again.tv_nsec -= 1000 * 1000 * 1000;
		item->again.tv_sec++;
	}
	pthread_mutex_lock(&lane->lock);
	lane->told++;
	pthread_cond_broadcast(&lane->done);
	list_add(&lane->repeats, item);
}

static void tell_again(struct lane *lane)
{
	struct stale_item *item = list_take(&lane->repeats);

	pthread_mutex_unlock(&lane->lock);
	stale_tell(lane->mirror, item, false);
	free(item);
	pthread_mutex_lock(&lane->lock);
}

static void *lane_main(void *argument)
{
	struct lane *lane = argument;

	pthread_mutex_lock(&lane->lock);
	while (!lane->ended) {
		if (lane->fresh.first)
			tell_fresh(lane);
		else if (!lane->repeats.first)
			pthread_cond_wait(&lane->work, &lane->lock);
		else if (is_past(&lane->repeats.first->again))
			tell_again(lane);
		else
			pthread_cond_timedwait(&lane->work, &lane->lock, &lane->repeats.first->again);
	}
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

void stale_add(struct cgfs_mirror *mirror, enum stale_what what, uint64_t node, const char *name, uint64_t child)
{
	struct lane *lane = &mirror->stale->lanes[node_kernfs_id(mirror, node) % N_LANES];
	size_t length = name ? strlen(name) : 0;
	struct stale_item *item = malloc(sizeof(*item) + length + 1);

	if (!item) {
		perror("cgfs: cannot keep the kernel's view of cgroup2 up to date");
		abort();
	}
	*item = (struct stale_item){.what = what, .node = node, .child = child};
	memcpy(item->name, name ? name : "", length + 1);
	pthread_mutex_lock(&lane->lock);
	list_add(&lane->fresh, item);
	lane->added++;
	pthread_cond_signal(&lane->work);
	pthread_mutex_unlock(&lane->lock);
}

void stale_flush(struct cgfs_mirror *mirror, const struct timespec *deadline)
{
	for (size_t i = 0; i < N_LANES; i++) {
		struct lane *lane = &mirror->stale->lanes[i];
		uint64_t ticket;
		int error = 0;

		pthread_mutex_lock(&lane->lock);
		ticket = lane->added;
		while (lane->told < ticket && !lane->ended && !error)
			error = pthread_cond_timedwait(&lane->done, &lane->lock, deadline);
		pthread_mutex_unlock(&lane->lock);
	}
}

/* --- start and stop --------------------------------------------------------------------------------------------------------- */

static void lane_init(struct lane *lane, struct cgfs_mirror *mirror)
{
	pthread_condattr_t monotonic;

	lane->mirror = mirror;
	lane->fresh.last = &lane->fresh.first;
	lane->repeats.last = &lane->repeats.first;
	pthread_mutex_init(&lane->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->work, &monotonic);
	pthread_cond_init(&lane->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void lane_destroy(struct lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	lane->ended = true;
	pthread_cond_broadcast(&lane->work);
	pthread_cond_broadcast(&lane->done);
	pthread_mutex_unlock(&lane->lock);
	if (lane->started)
		pthread_join(lane->thread, NULL);
	list_free(&lane->fresh);
	list_free(&lane->repeats);
	pthread_cond_destroy(&lane->work);
	pthread_cond_destroy(&lane->done);
	pthread_mutex_destroy(&lane->lock);
}

int stale_start(struct cgfs_mirror *mirror)
{
	struct stale *stale = calloc(1, sizeof(*stale));
	int error = 0;

	if (!stale)
		return -ENOMEM;
	mirror->stale = stale;
	for (size_t i = 0; i < N_LANES; i++)
		lane_init(&stale->lanes[i], mirror);
	for (size_t i = 0; i < N_LANES && !error; i++) {
		error = start_thread(&stale->lanes[i].thread, lane_main, &stale->lanes[i]);
		stale->lanes[i].started = error == 0;
	}
	return error;
}

void stale_stop(struct cgfs_mirror *mirror)
{
	if (!mirror->stale)
		return;
	for (size_t i = 0; i < N_LANES; i++)
		lane_destroy(&mirror->stale->lanes[i]);
	free(mirror->stale);
	mirror->stale = NULL;
}
