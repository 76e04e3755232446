/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work for which the kernel takes a directory's lock, and so may wait for whoever has it: for ever, if that is a process
 * which lists the directory into memory that never comes. Only what is about that directory may wait for it.
 *
 * So each directory has a lane, which is there while it has something to do: its errands are done one after the other,
 * by one thread at a time. Usually there is one thread for all lanes. When it does not come to the next one there is one
 * thread more; when nothing is to be done, all but one end.
 *
 * What waits in one lane is bounded, and so is what waits in all. Whoever adds says what may be refused.
 *
 * At MAX_THREADS locks that are held at a time nothing goes on until one of them is given back, and an operator is told:
 * somebody does it on purpose. Who owns the directories makes no difference. To ask would be to wait for a lock as well
 * (open_by_handle_at(2) of a directory that is not in the kernel's cache), and whoever may list a directory can hold it.
 * The threads have a table of descriptors of their own. When the daemon is killed, those that wait for a lock stay, and keep
 * open what is in the table, and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "loop.h"
#include "monotonic.h"

/* How many errands may wait, needed ones aside: in one lane; and in all, half of them in lanes that are held. */
#define MAX_OF_ONE 4096
#define MAX_OF_ALL 32768
/* When a lane has been the next for so long, another thread is started. No errand takes as long, unless it waits for a lock. */
#define REPLACED_MS 20
/* After so long a flush takes an errand for one that waits for a lock. Longer, so that a busy machine is not taken for one. */
#define HELD_MS 200

/* --- the runners ------------------------------------------------------------------------------------------------------- */

/* Called with the lock held, which is given back while an errand is done. Those that the end finds undone are dropped. */
static void run(struct runner *self, struct lane *lane)
{
	struct lanes *lanes = self->lanes;
	struct errands errands;
	struct errand *errand;

	lane_enter(lane, self, &errands);
	while ((errand = STAILQ_FIRST(&errands))) {
		bool drop = lanes->ended;

		STAILQ_REMOVE_HEAD(&errands, next);
		self->held = after_ms(HELD_MS);
		pthread_mutex_unlock(&lanes->lock);
		if (!drop)
			lanes->perform(lanes->mirror, errand);
		free(errand);
		pthread_mutex_lock(&lanes->lock);
		pthread_cond_broadcast(&lanes->changed);
	}
	lane_leave(self);
}

static void *runner_main(void *argument)
{
	struct runner *self = argument;
	struct lanes *lanes = self->lanes;
	struct lane *lane;

	pthread_mutex_lock(&lanes->lock);
	while (!lanes->ended) {
		lane = lane_take(lanes);
		if (lane) {
			run(self, lane);
		} else if (lanes->n_idle) {
			break;
		} else {
			lanes->n_idle++;
			pthread_cond_wait(&lanes->work, &lanes->lock);
			lanes->n_idle--;
		}
	}
	self->state = RUNNER_OVER;
	lanes->n_runners--;
	pthread_cond_broadcast(&lanes->changed);
	pthread_mutex_unlock(&lanes->lock);
	return NULL;
}

/* One runner more, if there may be one. Returns false if no thread can be had. Lock held. */
static bool add_runner(struct lanes *lanes)
{
	struct runner *runner = lanes->runners;

	if (lanes->n_runners == MAX_THREADS)
		return true;
	while (runner->state == RUNNER_RUNS)
		runner++;
	if (runner->state == RUNNER_OVER)
		pthread_join(runner->thread, NULL);
	*runner = (struct runner){.lanes = lanes};
	if (start_thread(&runner->thread, runner_main, runner))
		return false;
	runner->state = RUNNER_RUNS;
	lanes->n_runners++;
	return true;
}

static void tell_of_the_bound(struct lanes *lanes)
{
	if (lanes->told_of_the_bound)
		return;
	lanes->told_of_the_bound = true;
	fprintf(stderr, "cgfs: WARNING: the locks of %d directories of the mirror are held by processes that list them and do "
			"not go on: until those end, others may see what was\n", MAX_THREADS);
}

/*
 * Makes the runners: the first, and one more when a lane waits for too long. They share this thread's table of descriptors.
 * Sleeps while no lane waits.
 */
static void *keeper_main(void *argument)
{
	struct lanes *lanes = argument;

	if (keep_descriptors(lanes->fds))
		perror("cgfs: WARNING: if the daemon is killed it may not end: some threads have no table of descriptors");
	pthread_mutex_lock(&lanes->lock);
	while (!lanes->ended) {
		uint64_t next = lane_next_number(lanes);
		struct timespec until = after_ms(REPLACED_MS);

		if (!next || lanes->n_runners == MAX_THREADS) {
			lanes->keeper_sleeps = true;
			pthread_cond_wait(&lanes->look, &lanes->lock);
			lanes->keeper_sleeps = false;
			continue;
		}
		while (lanes->n_runners && !is_past(&until) && !lanes->ended)
			pthread_cond_timedwait(&lanes->look, &lanes->lock, &until);
		if (lanes->ended || lanes->n_idle || lane_next_number(lanes) != next)
			continue;
		if (!add_runner(lanes)) {
			until = after_ms(REPLACED_MS);
			pthread_cond_timedwait(&lanes->look, &lanes->lock, &until);
		}
		if (lanes->n_runners == MAX_THREADS)
			tell_of_the_bound(lanes);
	}
	pthread_mutex_unlock(&lanes->lock);
	return NULL;
}

/* --- what others call ------------------------------------------------------------------------------------------------- */

/* Those who keep their directories locked cannot use up the room of the others. */
static bool has_room(const struct lanes *lanes, const struct lane *lane)
{
	return lane->length < MAX_OF_ONE && lanes->n_errands < (lane->runner ? MAX_OF_ALL : 2 * MAX_OF_ALL);
}

/* Lock held. Returns whether it waits in its lane now: the errand itself (taken over), or one that is the same. */
static bool add(struct lanes *lanes, struct errand *errand, bool needed)
{
	struct lane *lane = lanes->ended ? NULL : lane_get(lanes, errand->node);
	bool same = lane && lane_has(lane, errand);

	if (!lane || same || (!needed && !has_room(lanes, lane))) {
		if (lane)
			lane_put(lane);
		free(errand);
		return same;
	}
	lane_append(lanes, lane, errand);
	if (lanes->n_idle)
		pthread_cond_signal(&lanes->work);
	if (lanes->keeper_sleeps)
		pthread_cond_signal(&lanes->look);
	return true;
}

bool lanes_add(struct lanes *lanes, int what, uint64_t node, const char *text, uint64_t child, bool needed)
{
	struct errand *errand = errand_new(what, node, text, child);
	bool added;

	if (!errand)
		return false;
	pthread_mutex_lock(&lanes->lock);
	added = add(lanes, errand, needed);
	pthread_mutex_unlock(&lanes->lock);
	return added;
}

/* Lock held. Those who are in a lane that is held need not be waited for, nor what waits behind them there. */
static bool is_done(const struct lanes *lanes, uint64_t number)
{
	const struct lane *lane;
	unsigned int n_held = 0;

	for (size_t i = 0; i < MAX_THREADS; i++) {
		const struct runner *runner = &lanes->runners[i];

		if (!runner->lane)
			continue;
		if (is_past(&runner->held))
			n_held++;
		else if (runner->number <= number)
			return false;
	}
	if (n_held == MAX_THREADS)
		return true;
	TAILQ_FOREACH(lane, &lanes->waiting, in_waiting) {
		if (lane->number > number)
			break;
		if (!lane->runner || !is_past(&lane->runner->held))
			return false;
	}
	return true;
}

void lanes_flush(struct lanes *lanes, const struct timespec *deadline)
{
	uint64_t number;

	pthread_mutex_lock(&lanes->lock);
	number = lanes->added;
	while (!lanes->ended && !is_done(lanes, number) && !is_past(deadline)) {
		struct timespec soon = after_ms(REPLACED_MS);

		pthread_cond_timedwait(&lanes->changed, &lanes->lock, &soon);
	}
	pthread_mutex_unlock(&lanes->lock);
}

bool lanes_have_ended(struct lanes *lanes)
{
	bool ended;

	pthread_mutex_lock(&lanes->lock);
	ended = lanes->ended;
	pthread_mutex_unlock(&lanes->lock);
	return ended;
}

/* --- start and stop ---------------------------------------------------------------------------------------------------- */

static void lanes_destroy(struct lanes *lanes)
{
	for (size_t i = 0; i < 1 << LANE_BITS; i++) {
		while (!LIST_EMPTY(&lanes->buckets[i]))
			lane_free(LIST_FIRST(&lanes->buckets[i]));
	}
	pthread_cond_destroy(&lanes->work);
	pthread_cond_destroy(&lanes->look);
	pthread_cond_destroy(&lanes->changed);
	pthread_mutex_destroy(&lanes->lock);
	free(lanes);
}

int lanes_start(struct cgfs_mirror *mirror, lanes_perform perform, const int fds[2], struct lanes **started)
{
	struct lanes *lanes = calloc(1, sizeof(*lanes));
	int error;

	if (!lanes)
		return -ENOMEM;
	lanes->mirror = mirror;
	lanes->perform = perform;
	memcpy(lanes->fds, fds, sizeof(lanes->fds));
	TAILQ_INIT(&lanes->waiting);
	pthread_mutex_init(&lanes->lock, NULL);
	init_monotonic(&lanes->work);
	init_monotonic(&lanes->look);
	init_monotonic(&lanes->changed);
	error = start_thread(&lanes->keeper, keeper_main, lanes);
	if (error)
		lanes_destroy(lanes);
	else
		*started = lanes;
	return error;
}

bool lanes_end(struct lanes *lanes, const struct timespec *deadline)
{
	bool ended;

	pthread_mutex_lock(&lanes->lock);
	lanes->ended = true;
	pthread_cond_broadcast(&lanes->work);
	pthread_cond_broadcast(&lanes->look);
	pthread_cond_broadcast(&lanes->changed);
	while (lanes->n_runners && !is_past(deadline))
		pthread_cond_timedwait(&lanes->changed, &lanes->lock, deadline);
	ended = !lanes->n_runners;
	pthread_mutex_unlock(&lanes->lock);
	return ended;
}

void lanes_free(struct lanes *lanes)
{
	pthread_join(lanes->keeper, NULL);
	for (size_t i = 0; i < MAX_THREADS; i++) {
		if (lanes->runners[i].state == RUNNER_OVER)
			pthread_join(lanes->runners[i].thread, NULL);
	}
	lanes_destroy(lanes);
}
