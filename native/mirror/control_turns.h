/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits how many threads of one user do one kind of expensive work at a time: the others wait for their turn. */
#ifndef CGFS_MIRROR_CONTROL_TURNS_H
#define CGFS_MIRROR_CONTROL_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "../caller.h"

/* One thread's, from turn_take() to turn_give(). All of it is control_turns.c's. */
struct turn {
	uint64_t user;
	TAILQ_ENTRY(turn) next;		/* in having or waiting; in neither once it is not counted any more */
	pthread_cond_t given;
	struct timespec slow_from;
	bool has_it, is_counted;
};

TAILQ_HEAD(turn_queue, turn);

struct turns {
	unsigned int of_user;		/* at a time */
	unsigned int of_all;		/* of all users but root; from here on each has one */
	int long_ms;			/* after which a turn is not counted any more: the thread is waiting for something else */
	pthread_mutex_t lock;		/* guards the rest; taken before no other */
	struct turn_queue having;	/* those that count */
	struct turn_queue waiting;	/* the oldest first */
};

/* Of the variable of that name. */
#define TURNS_INITIALIZER(variable_, of_user_, of_all_, long_ms_) {						\
	.of_user = (of_user_), .of_all = (of_all_), .long_ms = (long_ms_), .lock = PTHREAD_MUTEX_INITIALIZER,	\
	.having = TAILQ_HEAD_INITIALIZER((variable_).having), .waiting = TAILQ_HEAD_INITIALIZER((variable_).waiting) }

/* Wait for the turn of whoever is behind the caller (user.c). */
void turn_take(struct turns *turns, struct turn *turn, const struct cgfs_caller *caller);
void turn_give(struct turns *turns, struct turn *turn);

#endif
