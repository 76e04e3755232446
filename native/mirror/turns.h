/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whoever asks about control files takes turns: turns.c says why. */
#ifndef CGFS_MIRROR_TURNS_H
#define CGFS_MIRROR_TURNS_H

#include <pthread.h>
#include <time.h>

#include "internal.h"

/* One thread's, from turn_take() to turn_give(); all but the user is turns.c's. */
struct turn {
	uint64_t user;
	struct turn *next;		/* among those who have one, or those who wait for one */
	pthread_cond_t given;
	struct timespec slow_from;
	bool has_it;
};

int turns_create(struct cgfs_mirror *mirror);
void turns_destroy(struct cgfs_mirror *mirror);
/* Wait for the user's turn. */
void turn_take(struct turns *turns, struct turn *turn, uint64_t user);
void turn_give(struct turns *turns, struct turn *turn);

#endif
