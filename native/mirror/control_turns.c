/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that keeps its turn for long does not work, but waits: for a lock of the kernel, say. Its turn is not counted any
 * more, so that it holds up no other thread. loop_share.c bounds how many of a user's threads can wait like that.
 */
#include "control_turns.h"

#include "monotonic.h"
#include "user.h"

#define FEW 2	/* turns: with no more taken, the user behind a caller is not looked for, which would take longer */

static void stop_counting(struct turns *turns, struct turn *turn)
{
	TAILQ_REMOVE(&turns->having, turn, next);
	turn->is_counted = false;
}

static void forget_the_slow(struct turns *turns)
{
	struct turn *turn, *next;

	for (turn = TAILQ_FIRST(&turns->having); turn; turn = next) {
		next = TAILQ_NEXT(turn, next);
		if (is_past(&turn->slow_from))
			stop_counting(turns, turn);
	}
}

static bool is_free(const struct turns *turns, uint64_t user)
{
	unsigned int n_user = 0, n_not_root = 0, most = turns->of_user;
	const struct turn *turn;

	TAILQ_FOREACH(turn, &turns->having, next) {
		n_user += turn->user == user;
		n_not_root += turn->user != 0;
	}
	if (user && n_not_root >= turns->of_all)
		most = 1;
	return n_user < most;
}

/* Let those begin who have waited longest, as many as may. */
static void give_what_is_free(struct turns *turns)
{
	struct turn *turn, *next;

	if (!TAILQ_EMPTY(&turns->waiting))
		forget_the_slow(turns);
	for (turn = TAILQ_FIRST(&turns->waiting); turn; turn = next) {
		next = TAILQ_NEXT(turn, next);
		if (!is_free(turns, turn->user))
			continue;
		TAILQ_REMOVE(&turns->waiting, turn, next);
		TAILQ_INSERT_HEAD(&turns->having, turn, next);
		turn->has_it = turn->is_counted = true;
		turn->slow_from = after_ms(turns->long_ms);
		pthread_cond_signal(&turn->given);
	}
}

static bool is_quiet(struct turns *turns)
{
	const struct turn *turn;
	unsigned int n = 0;

	pthread_mutex_lock(&turns->lock);
	TAILQ_FOREACH(turn, &turns->having, next)
		n++;
	pthread_mutex_unlock(&turns->lock);
	return n < FEW;
}

void turn_take(struct turns *turns, struct turn *turn, const struct cgfs_caller *caller)
{
	*turn = (struct turn){.user = is_quiet(turns) ? caller->uid : user_of(caller)};
	init_monotonic(&turn->given);
	pthread_mutex_lock(&turns->lock);
	TAILQ_INSERT_TAIL(&turns->waiting, turn, next);
	give_what_is_free(turns);
	while (!turn->has_it) {
		struct timespec then = after_ms(turns->long_ms);

		pthread_cond_timedwait(&turn->given, &turns->lock, &then);
		give_what_is_free(turns);
	}
	pthread_mutex_unlock(&turns->lock);
}

void turn_give(struct turns *turns, struct turn *turn)
{
	pthread_mutex_lock(&turns->lock);
	if (turn->is_counted)
		stop_counting(turns, turn);
	give_what_is_free(turns);
	pthread_mutex_unlock(&turns->lock);
	pthread_cond_destroy(&turn->given);
}
