/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits how many threads of one user do one kind of expensive work at a time: the others wait for their turn. */
#ifndef CGFS_MIRROR_TURNS_H
#define CGFS_MIRROR_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../caller.h"

/* One thread's, from turn_take() to turn_give(). All of it is turns.c's. */
struct turn {
	uint64_t user;
	struct turn *next;		/* among those who have one, or those who wait for one */
	pthread_cond_t given;
	struct timespec slow_from;
	bool has_it;
};

struct turns {
	unsigned int of_user;		/* at a time */
	unsigned int of_all;		/* of all users but root; from here on each has one */
	int long_ms;			/* after which a turn is not counted any more: the thread is waiting for something else */
	pthread_mutex_t lock;		/* guards the rest; taken before no other */
	struct turn *having;		/* those that count */
	struct turn *waiting;		/* the oldest first */
};

#define TURNS_INITIALIZER(of_user_, of_all_, long_ms_) {						\
	.of_user = (of_user_), .of_all = (of_all_), .long_ms = (long_ms_), .lock = PTHREAD_MUTEX_INITIALIZER }

/* Wait for the turn of whoever is behind the caller (user.c). */
void turn_take(struct turns *turns, struct turn *turn, const struct cgfs_caller *caller);
void turn_give(struct turns *turns, struct turn *turn);

#endif
