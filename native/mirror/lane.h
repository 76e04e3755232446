/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lanes.c and lane.c share. */
#ifndef CGFS_MIRROR_LANE_H
#define CGFS_MIRROR_LANE_H

#include "lanes.h"

#define MAX_THREADS 64
#define LANE_BITS 10

STAILQ_HEAD(errands, errand);

struct lane {
	LIST_ENTRY(lane) in_bucket;
	TAILQ_ENTRY(lane) in_waiting;
	uint64_t node;
	uint64_t number;		/* of the first errand that waits; from 1 */
	struct errands errands;		/* those that wait */
	unsigned int length;
	unsigned int kinds;		/* a bit for each that waits and has no text: the same again says nothing more */
	struct runner *runner;		/* who is in it; NULL: nobody */
};

struct runner {
	struct lanes *lanes;
	pthread_t thread;
	enum { RUNNER_NONE, RUNNER_RUNS, RUNNER_OVER } state;
	struct lane *lane;		/* where it is; NULL: it has none */
	uint64_t number;		/* of the first of the errands that it took there */
	struct timespec held;		/* what it is doing takes too long from then on */
};

struct lanes {
	struct cgfs_mirror *mirror;
	lanes_perform perform;
	int fds[2];			/* what the threads keep of the descriptors; constant, as all above */
	pthread_t keeper;
	pthread_mutex_t lock;		/* guards the rest; taken before no other */
	pthread_cond_t work;		/* for the runners: a lane waits, or the end */
	pthread_cond_t look;		/* for the keeper, where it sleeps: a lane waits, or the end */
	pthread_cond_t changed;		/* an errand was done, or a runner is over */
	LIST_HEAD(lane_bucket, lane) buckets[1 << LANE_BITS];
	TAILQ_HEAD(, lane) waiting;	/* the lanes with errands that wait, in the order of their numbers */
	struct runner runners[MAX_THREADS];
	unsigned int n_runners, n_idle;
	unsigned int n_errands;		/* that wait */
	uint64_t added;
	bool keeper_sleeps;
	bool told_of_the_bound;
	bool ended;
};

/* --- lane.c: lock held ------------------------------------------------------------------------------------------------- */

struct errand *errand_new(int what, uint64_t node, const char *text, uint64_t child);
/* The node's lane, made if there is none. NULL: no memory. */
struct lane *lane_get(struct lanes *lanes, uint64_t node);
/* It is there no more if nobody needs it. */
void lane_put(struct lane *lane);
/* Whether an errand that says the same waits in the lane; of those with a text never. */
bool lane_has(const struct lane *lane, const struct errand *errand);
void lane_append(struct lanes *lanes, struct lane *lane, struct errand *errand);
/* Take the first lane that has something to do, and no runner, from those that wait. NULL: there is none. */
struct lane *lane_take(struct lanes *lanes);
/* The number of that lane; 0: there is none. */
uint64_t lane_next_number(const struct lanes *lanes);
/* The runner takes what waits in it to errands: what comes from now on is for later. And it is through with that. */
void lane_enter(struct lane *lane, struct runner *runner, struct errands *errands);
void lane_leave(struct runner *runner);
void lane_free(struct lane *lane);

#endif
