// SPDX-License-Identifier: GPL-2.0-or-later
/* Who asks takes turns: some of each user's, in order, and who takes long holds up nobody. */
#include <poll.h>
#include <unistd.h>

#include "connection.h"	/* wait_readable */
#include "mirror/identity.h"
#include "mirror/control_turns.h"
#include "test.h"

#define MANY 20

/* A thread that takes a turn, says so, and gives it back when it is told to. */
struct asker {
	pthread_t thread;
	struct turns *turns;
	uint32_t uid;
	int has_it[2], go_on[2];	/* pipes */
};

static void *ask_and_wait(void *argument)
{
	struct asker *asker = argument;
	struct turn turn;
	char byte = 0;

	turn_take(asker->turns, &turn, &(struct cgfs_caller){.tid = (uint32_t)gettid(), .uid = asker->uid});
	CHECK(write(asker->has_it[1], &byte, 1) == 1);
	CHECK(read(asker->go_on[0], &byte, 1) == 1);
	turn_give(asker->turns, &turn);
	return NULL;
}

static void start(struct asker *asker, struct turns *turns, uint32_t uid)
{
	*asker = (struct asker){.turns = turns, .uid = uid};
	CHECK(pipe(asker->has_it) == 0 && pipe(asker->go_on) == 0);
	CHECK(pthread_create(&asker->thread, NULL, ask_and_wait, asker) == 0);
}

static void wait_for_turn(struct asker *asker)
{
	char byte;

	wait_readable(asker->has_it[0]);
	CHECK(read(asker->has_it[0], &byte, 1) == 1);
}

static bool has_turn(const struct asker *asker)
{
	struct pollfd poll_fd = {.fd = asker->has_it[0], .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

static void finish(struct asker *asker)
{
	CHECK(write(asker->go_on[1], "", 1) == 1);
	pthread_join(asker->thread, NULL);
	for (int i = 0; i < 2; i++) {
		close(asker->has_it[i]);
		close(asker->go_on[i]);
	}
}

TEST(turns_of_one_user_are_no_others)
{
	struct turns turns = TURNS_INITIALIZER(turns, 3, 12, 60 * 1000);
	struct asker hers[MANY], his;
	int n_begun = 0;

	CHECK(identity_init() == 0);
	for (int i = 0; i < MANY; i++)
		start(&hers[i], &turns, 1000);
	start(&his, &turns, 1001);
	wait_for_turn(&his);
	for (int i = 0; i < MANY; i++)
		n_begun += has_turn(&hers[i]);
	CHECK(n_begun <= 3);
	finish(&his);
	/* In any order: who begins is told before, so that nobody waits for another's turn. */
	for (int i = 0; i < MANY; i++)
		CHECK(write(hers[i].go_on[1], "", 1) == 1);
	for (int i = 0; i < MANY; i++)
		finish(&hers[i]);
}

/* None gives its turn back, and all have one in the end. */
TEST(turns_that_take_long_hold_up_nobody)
{
	struct turns turns = TURNS_INITIALIZER(turns, 3, 12, 20);
	struct asker askers[MANY];

	CHECK(identity_init() == 0);
	for (int i = 0; i < MANY; i++)
		start(&askers[i], &turns, i % 2 ? 0 : 1000);
	for (int i = 0; i < MANY; i++)
		wait_for_turn(&askers[i]);
	for (int i = 0; i < MANY; i++)
		finish(&askers[i]);
}

TEST(turns_are_fewer_where_many_have_one)
{
	struct turns turns = TURNS_INITIALIZER(turns, 3, 2, 60 * 1000);
	struct asker others[2], hers[2], roots;

	CHECK(identity_init() == 0);
	for (uint32_t i = 0; i < 2; i++) {
		start(&others[i], &turns, 2000 + i);
		wait_for_turn(&others[i]);
	}
	start(&hers[0], &turns, 1000);
	wait_for_turn(&hers[0]);
	start(&hers[1], &turns, 1000);
	start(&roots, &turns, 0);
	wait_for_turn(&roots);
	CHECK(!has_turn(&hers[1]));
	finish(&hers[0]);
	wait_for_turn(&hers[1]);
	finish(&hers[1]);
	finish(&roots);
	for (int i = 0; i < 2; i++)
		finish(&others[i]);
}
