/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lanes of directories, and what waits in them. There is a lane as long as something is to be done in it. */
#include "lane.h"

#include <stdlib.h>
#include <string.h>

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

static struct lane **lane_link(struct lanes *lanes, uint64_t node)
{
	struct lane **link = &lanes->buckets[node % N_BUCKETS];

	while (*link && (*link)->node != node)
		link = &(*link)->next_in_bucket;
	return link;
}

struct lane *lane_get(struct lanes *lanes, uint64_t node)
{
	struct lane **link = lane_link(lanes, node);

	if (!*link) {
		*link = calloc(1, sizeof(**link));
		if (*link) {
			(*link)->node = node;
			(*link)->last = &(*link)->first;
		}
	}
	return *link;
}

void lane_put(struct lanes *lanes, struct lane *lane)
{
	if (lane->first || lane->runner)
		return;
	*lane_link(lanes, lane->node) = lane->next_in_bucket;
	free(lane);
}

bool lane_has(const struct lane *lane, const struct errand *errand)
{
	return !*errand->text && lane->kinds & 1u << errand->what;
}

void lane_append(struct lanes *lanes, struct lane *lane, struct errand *errand)
{
	lanes->added++;
	if (!lane->first) {
		lane->number = lanes->added;
		lane->next_waiting = NULL;
		*lanes->last_waiting = lane;
		lanes->last_waiting = &lane->next_waiting;
	}
	*lane->last = errand;
	lane->last = &errand->next;
	if (!*errand->text)
		lane->kinds |= 1u << errand->what;
	lane->length++;
	lanes->n_errands++;
}

struct lane *lane_take(struct lanes *lanes)
{
	struct lane **link = &lanes->waiting, *lane;

	while (*link && (*link)->runner)
		link = &(*link)->next_waiting;
	lane = *link;
	if (lane) {
		*link = lane->next_waiting;
		if (!*link)
			lanes->last_waiting = link;
	}
	return lane;
}

uint64_t lane_next_number(const struct lanes *lanes)
{
	const struct lane *lane = lanes->waiting;

	while (lane && lane->runner)
		lane = lane->next_waiting;
	return lane ? lane->number : 0;
}

struct errand *lane_enter(struct lane *lane, struct runner *runner)
{
	struct errand *errands = lane->first;

	runner->lane = lane;
	runner->number = lane->number;
	runner->lanes->n_errands -= lane->length;
	lane->runner = runner;
	lane->first = NULL;
	lane->last = &lane->first;
	lane->kinds = 0;
	lane->length = 0;
	return errands;
}

void lane_leave(struct runner *runner)
{
	struct lane *lane = runner->lane;

	runner->lane = NULL;
	lane->runner = NULL;
	lane_put(runner->lanes, lane);
}

void lane_free(struct lane *lane)
{
	while (lane->first) {
		struct errand *errand = lane->first;

		lane->first = errand->next;
		free(errand);
	}
	free(lane);
}
