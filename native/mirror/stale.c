/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the kernel what it must not believe any more (stale_notify.c), in two steps.
 *
 * One thread tells at once what needs no lock: that the attributes of a node are not known any more, those of a directory
 * that was removed included. Whoever uses it next asks for them, gets ESTALE, and looks up its name anew; so nobody takes
 * what was removed for what is there, whatever becomes of the second step. That thread waits for nobody, and so what it has
 * to tell is bounded by how fast things happen.
 *
 * Names and listings are the second step: the kernel takes the lock of the directory for them, which somebody may hold
 * for ever (lanes.c).
 *
 * There is a pause after each step. What is added meanwhile is told together, after it. For the kernel drops the attributes
 * that an answer brings if it is told while it waits for it that they have changed. If that happens to a directory's first
 * LOOKUP, it sends a GETATTR; if it happens to that as well, the only mode that it knows is 0, and the caller gets EACCES.
 *
 * All is told twice. An answer that was made before a change may reach the kernel after it was told of the change, and
 * would be believed for long.
 *
 * Sources: fuse_iget and fuse_change_attributes_i in fs/fuse/inode.c, fuse_permission in fs/fuse/dir.c.
 */
#include "stale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "loop.h"
#include "monotonic.h"

#define PAUSE_MS 2		/* an answer to the kernel takes less than a tenth of it */
#define AGAIN_MS 200
#define SLOT_BITS 13

STAILQ_HEAD(stale_items, stale_item);

struct stale {
	struct cgfs_mirror *mirror;
	struct lanes *lanes;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;	/* guards what follows; taken before no other */
	pthread_cond_t work;	/* something was added, or the end */
	pthread_cond_t over;	/* the end */
	pthread_cond_t done;	/* told has grown */
	struct stale_items fresh;
	LIST_HEAD(stale_slot, stale_item) slots[1 << SLOT_BITS];	/* those of fresh that have no name, by hash */
	struct stale_items repeats;	/* in the order of their time */
	uint64_t added, told;	/* items, fresh ones only */
	bool ended;
	struct stale_round round;	/* the thread's own */
};

static struct stale_item *take(struct stale_items *items)
{
	struct stale_item *item = STAILQ_FIRST(items);

	STAILQ_REMOVE_HEAD(items, next);
	return item;
}

static void free_all(struct stale_items *items)
{
	while (!STAILQ_EMPTY(items))
		free(take(items));
}

/* --- the thread ------------------------------------------------------------------------------------------------------ */

static struct stale_slot *slot_of(struct stale *stale, const struct stale_item *item)
{
	return &stale->slots[hash_id(item->node ^ (uint64_t)item->what << 56, SLOT_BITS)];
}

/* Whatever is to be told now. */
static void take_due(struct stale *stale, struct stale_items *due)
{
	struct stale_item *fresh;

	while (!STAILQ_EMPTY(&stale->repeats) && is_past(&STAILQ_FIRST(&stale->repeats)->again)) {
		struct stale_item *item = take(&stale->repeats);

		STAILQ_INSERT_TAIL(due, item, next);
	}
	STAILQ_FOREACH(fresh, &stale->fresh, next)
		LIST_INIT(slot_of(stale, fresh));
	STAILQ_CONCAT(due, &stale->fresh);
}

/* Lock held, but not meanwhile. */
static void pause_between(struct stale *stale)
{
	struct timespec end = after_ms(PAUSE_MS);

	while (!stale->ended && !pthread_cond_timedwait(&stale->over, &stale->lock, &end))
		;
}

static void put_away(struct stale *stale, struct stale_items *told)
{
	struct timespec again = after_ms(AGAIN_MS);

	while (!STAILQ_EMPTY(told)) {
		struct stale_item *item = take(told);

		if (!item->first) {
			free(item);
			continue;
		}
		item->first = false;
		item->again = again;
		STAILQ_INSERT_TAIL(&stale->repeats, item, next);
		stale->told++;
	}
	pthread_cond_broadcast(&stale->done);
}

/* Lock held, but not meanwhile. */
static void tell(struct stale *stale, struct stale_items *due)
{
	struct stale_item *item;
	bool any = false;

	pthread_mutex_unlock(&stale->lock);
	stale->round.number++;
	STAILQ_FOREACH(item, due, next)
		any |= stale_inval(stale->mirror, &stale->round, item);
	pthread_mutex_lock(&stale->lock);
	if (any)
		pause_between(stale);
	pthread_mutex_unlock(&stale->lock);
	STAILQ_FOREACH(item, due, next)
		stale_give_to_lanes(stale->mirror, stale->lanes, item);
	pthread_mutex_lock(&stale->lock);
	put_away(stale, due);
	pause_between(stale);
}

static void *stale_main(void *argument)
{
	struct stale *stale = argument;

	pthread_mutex_lock(&stale->lock);
	while (!stale->ended) {
		struct stale_items due = STAILQ_HEAD_INITIALIZER(due);

		take_due(stale, &due);
		if (!STAILQ_EMPTY(&due))
			tell(stale, &due);
		else if (!STAILQ_EMPTY(&stale->repeats))
			pthread_cond_timedwait(&stale->work, &stale->lock, &STAILQ_FIRST(&stale->repeats)->again);
		else
			pthread_cond_wait(&stale->work, &stale->lock);
	}
	pthread_mutex_unlock(&stale->lock);
	return NULL;
}

/* --- what is added --------------------------------------------------------------------------------------------------- */

/* Whether the same will be told anyway: who writes to many files in a loop must not fill the memory. */
static bool is_told_soon(struct stale *stale, const struct stale_item *item)
{
	const struct stale_item *other;

	if (*item->name)
		return false;
	LIST_FOREACH(other, slot_of(stale, item), in_slot) {
		if (other->what == item->what && other->node == item->node)
			return true;
	}
	return false;
}

static void add_fresh(struct stale *stale, struct stale_item *item)
{
	if (is_told_soon(stale, item)) {
		free(item);
		return;
	}
	item->first = true;
	if (!*item->name)
		LIST_INSERT_HEAD(slot_of(stale, item), item, in_slot);
	STAILQ_INSERT_TAIL(&stale->fresh, item, next);
	stale->added++;
	pthread_cond_signal(&stale->work);
}

/* What the mirror has removed itself is told later only: of most directories nothing is left by then. Whoever waits for the
 * first in the list need not be woken for another one. */
static void add_repeat(struct stale *stale, struct stale_item *item)
{
	bool first = STAILQ_EMPTY(&stale->repeats);

	item->again = after_ms(AGAIN_MS);
	STAILQ_INSERT_TAIL(&stale->repeats, item, next);
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
	/* And again, for what came of it: of a file without a name the directory, of a directory its children, of those the files. */
	for (int i = 0; i < 3; i++) {
		wait_until_told(mirror->stale, deadline);
		lanes_flush(mirror->stale->lanes, deadline);
	}
}

struct lanes *stale_lanes(struct cgfs_mirror *mirror)
{
	return mirror->stale->lanes;
}

/* --- start and stop --------------------------------------------------------------------------------------------------- */

int stale_start(struct cgfs_mirror *mirror)
{
	struct stale *stale = calloc(1, sizeof(*stale));
	const int fds[2] = {mirror->source_fd, mirror->notify_fd};
	int error;

	if (!stale)
		return -ENOMEM;
	mirror->stale = stale;
	stale->mirror = mirror;
	STAILQ_INIT(&stale->fresh);
	STAILQ_INIT(&stale->repeats);
	pthread_mutex_init(&stale->lock, NULL);
	init_monotonic(&stale->work);
	init_monotonic(&stale->over);
	init_monotonic(&stale->done);
	error = lanes_start(mirror, stale_expire, fds, &stale->lanes);
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
	pthread_cond_broadcast(&stale->over);
	pthread_cond_broadcast(&stale->done);
	pthread_mutex_unlock(&stale->lock);
	if (stale->started)
		pthread_join(stale->thread, NULL);
	if (stale->lanes && !lanes_end(stale->lanes, deadline))
		return false;
	if (stale->lanes)
		lanes_free(stale->lanes);
	free_all(&stale->fresh);
	free_all(&stale->repeats);
	pthread_cond_destroy(&stale->work);
	pthread_cond_destroy(&stale->over);
	pthread_cond_destroy(&stale->done);
	pthread_mutex_destroy(&stale->lock);
	free(stale);
	mirror->stale = NULL;
	return true;
}
