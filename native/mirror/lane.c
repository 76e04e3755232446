/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lanes of directories, and what waits in them. There is a lane as long as something is to be done in it. */
#include "lane.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

struct errand *errand_new(int what, uint64_t node, const char *text, uint64_t child)
{
	size_t length = strlen(text);
	struct errand *errand = malloc(sizeof(*errand) + length + 1);

	if (errand) {
		*errand = (struct errand){.what = what, .node = node, .child = child};
		memcpy(errand->text, text, length + 1);
	}
	return errand;
}

struct lane *lane_get(struct lanes *lanes, uint64_t node)
{
	struct lane_bucket *bucket = &lanes->buckets[hash_id(node, LANE_BITS)];
	struct lane *lane;

	LIST_FOREACH(lane, bucket, in_bucket) {
		if (lane->node == node)
			return lane;
	}
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->node = node;
	STAILQ_INIT(&lane->errands);
	LIST_INSERT_HEAD(bucket, lane, in_bucket);
	return lane;
}

void lane_put(struct lane *lane)
{
	if (!STAILQ_EMPTY(&lane->errands) || lane->runner)
		return;
	LIST_REMOVE(lane, in_bucket);
	free(lane);
}

bool lane_has(const struct lane *lane, const struct errand *errand)
{
	return !*errand->text && lane->kinds & 1u << errand->what;
}

void lane_append(struct lanes *lanes, struct lane *lane, struct errand *errand)
{
	lanes->added++;
	if (STAILQ_EMPTY(&lane->errands)) {
		lane->number = lanes->added;
		TAILQ_INSERT_TAIL(&lanes->waiting, lane, in_waiting);
	}
	STAILQ_INSERT_TAIL(&lane->errands, errand, next);
	if (!*errand->text)
		lane->kinds |= 1u << errand->what;
	lane->length++;
	lanes->n_errands++;
}

static struct lane *first_without_runner(const struct lanes *lanes)
{
	struct lane *lane;

	TAILQ_FOREACH(lane, &lanes->waiting, in_waiting) {
		if (!lane->runner)
			return lane;
	}
	return NULL;
}

struct lane *lane_take(struct lanes *lanes)
{
	struct lane *lane = first_without_runner(lanes);

	if (lane)
		TAILQ_REMOVE(&lanes->waiting, lane, in_waiting);
	return lane;
}

uint64_t lane_next_number(const struct lanes *lanes)
{
	const struct lane *lane = first_without_runner(lanes);

	return lane ? lane->number : 0;
}

void lane_enter(struct lane *lane, struct runner *runner, struct errands *errands)
{
	runner->lane = lane;
	runner->number = lane->number;
	runner->lanes->n_errands -= lane->length;
	lane->runner = runner;
	lane->kinds = 0;
	lane->length = 0;
	STAILQ_INIT(errands);
	STAILQ_CONCAT(errands, &lane->errands);
}

void lane_leave(struct runner *runner)
{
	struct lane *lane = runner->lane;

	runner->lane = NULL;
	lane->runner = NULL;
	lane_put(lane);
}

void lane_free(struct lane *lane)
{
	struct errand *errand;

	while ((errand = STAILQ_FIRST(&lane->errands))) {
		STAILQ_REMOVE_HEAD(&lane->errands, next);
		free(errand);
	}
	LIST_REMOVE(lane, in_bucket);
	free(lane);
}
