/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns to ask about control files. Python runs one thread at a time, and gives way at each system call: with many threads
 * in it, each waits for all others, again and again. So a few of each user's are in it, and the others wait before it.
 *
 * Who has had his turn for long waits for something else than Python: a lock of the kernel, or of a file. He does not count
 * any more, and holds up nobody; how many wait so is bounded by loop_share.c.
 */
#include "turns.h"

#include <stdlib.h>

#include "monotonic.h"

#define TURNS_OF_USER 3
#define TURNS_OF_ALL 12		/* of all but root: from here on each has one */
#define LONG_MS 50

struct turns {
	pthread_mutex_t lock;		/* guards the rest; taken before no other */
	struct turn *having;		/* and counting */
	struct turn *waiting;		/* those who came first are first */
};

static void unlink_turn(struct turn **link, const struct turn *turn)
{
	while (*link && *link != turn)
		link = &(*link)->next;
	if (*link)
		*link = turn->next;
}

static void forget_the_slow(struct turns *turns)
{
	struct turn **link = &turns->having;

	while (*link) {
		if (is_past(&(*link)->slow_from))
			*link = (*link)->next;
		else
			link = &(*link)->next;
	}
}

static bool is_free(const struct turns *turns, uint64_t user)
{
	unsigned int n_user = 0, n_others = 0;

	for (const struct turn *turn = turns->having; turn; turn = turn->next) {
		n_user += turn->user == user;
		n_others += turn->user != 0;
	}
	return n_user < (user && n_others >= TURNS_OF_ALL ? 1 : TURNS_OF_USER);
}

/* Let those begin who have waited longest, as many as may. */
static void give_what_is_free(struct turns *turns)
{
	struct turn **link = &turns->waiting, *turn;

	while ((turn = *link)) {
		if (!is_free(turns, turn->user)) {
			link = &turn->next;
			continue;
		}
		*link = turn->next;
		turn->has_it = true;
		turn->slow_from = after_ms(LONG_MS);
		turn->next = turns->having;
		turns->having = turn;
		pthread_cond_signal(&turn->given);
	}
}

static void append(struct turns *turns, struct turn *turn)
{
	struct turn **link = &turns->waiting;

	while (*link)
		link = &(*link)->next;
	*link = turn;
}

void turn_take(struct turns *turns, struct turn *turn, uint64_t user)
{
	*turn = (struct turn){.user = user};
	init_monotonic(&turn->given);
	pthread_mutex_lock(&turns->lock);
	append(turns, turn);
	give_what_is_free(turns);
	while (!turn->has_it) {
		struct timespec then = after_ms(LONG_MS);

		pthread_cond_timedwait(&turn->given, &turns->lock, &then);
		forget_the_slow(turns);
		give_what_is_free(turns);
	}
	pthread_mutex_unlock(&turns->lock);
}

void turn_give(struct turns *turns, struct turn *turn)
{
	pthread_mutex_lock(&turns->lock);
	unlink_turn(&turns->having, turn);
	give_what_is_free(turns);
	pthread_mutex_unlock(&turns->lock);
	pthread_cond_destroy(&turn->given);
}

int turns_create(struct cgfs_mirror *mirror)
{
	mirror->turns = calloc(1, sizeof(*mirror->turns));
	if (!mirror->turns)
		return -ENOMEM;
	pthread_mutex_init(&mirror->turns->lock, NULL);
	return 0;
}

void turns_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->turns)
		return;
	pthread_mutex_destroy(&mirror->turns->lock);
	free(mirror->turns);
	mirror->turns = NULL;
}
