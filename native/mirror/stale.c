/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the kernel what it must not believe any more (notify.c), in two steps.
 *
 * One thread tells at once what needs no lock: that the attributes of a node are not known any more, those of a directory
 * that was removed included. Whoever uses it next asks for them, gets ESTALE, and looks up its name anew; so nobody takes
 * what was removed for what is there, whatever becomes of the second step. That thread never waits, and so what it has
 * to tell is bounded by how fast things happen.
 *
 * Names and listings are the second step: the kernel takes the lock of the directory for them, which somebody may hold
 * for ever (lanes.c).
 *
 * All is told twice. An answer that was made before a change may reach the kernel after it was told of the change, and
 * would be believed for long.
 */
#include "stale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "monotonic.h"

#define AGAIN_MS 200
#define N_SLOTS 1024

struct list {
	struct stale_item *first;
	struct stale_item **last;	/* where the next one is to be linked */
};

struct stale {
	struct cgfs_mirror *mirror;
	struct lanes *lanes;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;	/* guards what follows; taken before no other */
	pthread_cond_t work;	/* something was added, or the end */
	pthread_cond_t done;	/* told has grown */
	struct list fresh;
	struct stale_item *last_fresh[N_SLOTS];	/* in fresh, without a name; by hash, the last of each */
	struct list repeats;	/* in the order of their time */
	uint64_t added, told;	/* items, fresh ones only */
	bool ended;
};

/* --- the first step -------------------------------------------------------------------------------------------------- */

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

static struct stale_item **slot_of(struct stale *stale, const struct stale_item *item)
{
	return &stale->last_fresh[(item->node ^ item->node >> 10 ^ (uint64_t)item->what << 5) % N_SLOTS];
}

/* Whether the same will be told anyway: who writes to many files in a loop must not fill the memory. */
static bool is_told_soon(struct stale *stale, const struct stale_item *item)
{
	const struct stale_item *other = *slot_of(stale, item);

	return !*item->name && other && other->what == item->what && other->node == item->node;
}

static void tell_fresh(struct stale *stale)
{
	struct stale_item *item = list_take(&stale->fresh), **slot = slot_of(stale, item);

	if (*slot == item)
		*slot = NULL;
	pthread_mutex_unlock(&stale->lock);
	stale_tell(stale->mirror, stale->lanes, item, true);
	item->again = after_ms(AGAIN_MS);
	pthread_mutex_lock(&stale->lock);
	stale->told++;
	pthread_cond_broadcast(&stale->done);
	list_add(&stale->repeats, item);
}

static void tell_again(struct stale *stale)
{
	struct stale_item *item = list_take(&stale->repeats);

	pthread_mutex_unlock(&stale->lock);
	stale_tell(stale->mirror, stale->lanes, item, false);
	free(item);
	pthread_mutex_lock(&stale->lock);
}

static void *stale_main(void *argument)
{
	struct stale *stale = argument;

	pthread_mutex_lock(&stale->lock);
	while (!stale->ended) {
		if (stale->repeats.first && is_past(&stale->repeats.first->again))
			tell_again(stale);
		else if (stale->fresh.first)
			tell_fresh(stale);
		else if (!stale->repeats.first)
			pthread_cond_wait(&stale->work, &stale->lock);
		else
			pthread_cond_timedwait(&stale->work, &stale->lock, &stale->repeats.first->again);
	}
	pthread_mutex_unlock(&stale->lock);
	return NULL;
}

static void add_fresh(struct stale *stale, struct stale_item *item)
{
	if (is_told_soon(stale, item)) {
		free(item);
		return;
	}
	if (!*item->name)
		*slot_of(stale, item) = item;
	list_add(&stale->fresh, item);
	stale->added++;
	pthread_cond_signal(&stale->work);
}

/* What the mirror has removed itself is told later only: of most directories nothing is left by then. Whoever waits for the
 * first in the list need not be woken for another one. */
static void add_repeat(struct stale *stale, struct stale_item *item)
{
	bool first = !stale->repeats.first;

	item->again = after_ms(AGAIN_MS);
	list_add(&stale->repeats, item);
	if (first)
		pthread_cond_signal(&stale->work);
}

void stale_add(struct cgfs_mirror *mirror, enum stale_what what, uint64_t node, const char *name, uint64_t child)
{
	struct stale *stale = mirror->stale;
	size_t length = name ? strlen(name) : 0;
	struct stale_item *item = malloc(sizeof(*item) + length + 1);

	if (!item) {
		perror("cgfs: cannot keep the kernel's view of cgroup2 up to date");
		abort();
	}
	*item = (struct stale_item){.what = what, .node = node, .child = child};
	memcpy(item->name, name ? name : "", length + 1);
	pthread_mutex_lock(&stale->lock);
	if (what == STALE_REMOVED)
		add_repeat(stale, item);
	else
		add_fresh(stale, item);
	pthread_mutex_unlock(&stale->lock);
}

static void wait_until_told(struct stale *stale, const struct timespec *deadline)
{
	uint64_t ticket;
	int error = 0;

	pthread_mutex_lock(&stale->lock);
	ticket = stale->added;
	while (stale->told < ticket && !stale->ended && !error)
		error = pthread_cond_timedwait(&stale->done, &stale->lock, deadline);
	pthread_mutex_unlock(&stale->lock);
}

void stale_flush(struct cgfs_mirror *mirror, const struct timespec *deadline)
{
	wait_until_told(mirror->stale, deadline);
	lanes_flush(mirror->stale->lanes, deadline);
	lanes_flush(mirror->stale->lanes, deadline);	/* and what came of it: the files of child directories */
}

struct lanes *stale_lanes(struct cgfs_mirror *mirror)
{
	return mirror->stale->lanes;
}

/* --- start and stop --------------------------------------------------------------------------------------------------------- */

int stale_start(struct cgfs_mirror *mirror)
{
	struct stale *stale = calloc(1, sizeof(*stale));
	int error;

	if (!stale)
		return -ENOMEM;
	mirror->stale = stale;
	stale->mirror = mirror;
	stale->fresh.last = &stale->fresh.first;
	stale->repeats.last = &stale->repeats.first;
	pthread_mutex_init(&stale->lock, NULL);
	init_monotonic(&stale->work);
	init_monotonic(&stale->done);
	error = lanes_start(mirror, stale_expire, &stale->lanes);
	if (!error)
		error = start_thread(&stale->thread, stale_main, stale);
	stale->started = error == 0;
	return error;
}

bool stale_stop(struct cgfs_mirror *mirror, const struct timespec *deadline)
{
	struct stale *stale = mirror->stale;

	pthread_mutex_lock(&stale->lock);
	stale->ended = true;
	pthread_cond_broadcast(&stale->work);
	pthread_cond_broadcast(&stale->done);
	pthread_mutex_unlock(&stale->lock);
	if (stale->started)
		pthread_join(stale->thread, NULL);
	if (stale->lanes && !lanes_end(stale->lanes, deadline))
		return false;
	if (stale->lanes)
		lanes_free(stale->lanes);
	list_free(&stale->fresh);
	list_free(&stale->repeats);
	pthread_cond_destroy(&stale->work);
	pthread_cond_destroy(&stale->done);
	pthread_mutex_destroy(&stale->lock);
	free(stale);
	mirror->stale = NULL;
	return true;
}
