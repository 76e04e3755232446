/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that wakes those who wait for a change (waiter.c).
 *
 * It polls our descriptors: one for each waiter but those of control files, so they are never more than the process may
 * have. Others' changes of a control file are looked for while somebody waits for one, and only then: there is no event.
 * Once for each file and interval, however many wait for it, and however often somebody begins to wait.
 */
#include "poll.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "monotonic.h"

#define CHECK_MS 400

/* What the thread waits for at a time. */
struct round {
	struct waiter **waiters;	/* that have a descriptor; counted */
	struct pollfd *ready;		/* one for each, and the last is the poller's own */
	size_t n;
	uint64_t *controls;		/* nodes of control files, with repetitions */
	size_t n_controls;
};

static void round_clear(struct poller *poller, struct round *round)
{
	for (size_t i = 0; i < round->n; i++)
		waiter_put(poller, round->waiters[i]);
	free(round->waiters);
	free(round->ready);
	free(round->controls);
	*round = (struct round){};
}

/* Called with the lock held. */
static int round_collect(struct poller *poller, struct round *round)
{
	struct waiter *waiter = NULL;

	round->waiters = calloc(poller->n_waiters + 1, sizeof(struct waiter *));
	round->ready = calloc(poller->n_waiters + 1, sizeof(*round->ready));
	round->controls = calloc(poller->n_waiters + 1, sizeof(*round->controls));
	if (!round->waiters || !round->ready || !round->controls)
		return -ENOMEM;
	while ((waiter = waiter_find(poller, ALL, 0, waiter))) {
		if (!waiter->armed)
			continue;
		if (node_is_control(waiter->node))
			round->controls[round->n_controls++] = waiter->node;
		if (waiter->fd < 0)
			continue;
		waiter->references++;
		round->waiters[round->n] = waiter;
		round->ready[round->n++] = (struct pollfd){.fd = waiter->fd, .events = POLLPRI};
	}
	round->ready[round->n] = (struct pollfd){.fd = poller->wake_fd, .events = POLLIN};
	return 0;
}

/*
 * Without an answer (no memory, a limit that was lowered) each is woken, so that the kernel asks, and the thread pauses:
 * later than it should be, and never for nothing.
 */
static void round_poll(const struct round *round, int timeout_ms)
{
	if (poll(round->ready, round->n + 1, timeout_ms) >= 0 || errno == EINTR)
		return;
	poll(NULL, 0, CHECK_MS);
	for (size_t i = 0; i < round->n; i++)
		round->ready[i].revents = POLLERR;
}

static void round_wake(struct poller *poller, const struct round *round)
{
	eventfd_t count;

	eventfd_read(poller->wake_fd, &count);
	pthread_mutex_lock(&poller->lock);
	for (size_t i = 0; i < round->n; i++) {
		if (!round->ready[i].revents)
			continue;
		if (node_kind(round->waiters[i]->node) == KIND_PRESSURE && round->ready[i].revents & POLLPRI)
			round->waiters[i]->taken = true;
		waiter_wake(poller, round->waiters[i]);
	}
	pthread_mutex_unlock(&poller->lock);
}

static int compare(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a > b) - (a < b);
}

static void round_check_controls(struct poller *poller, const struct round *round)
{
	qsort(round->controls, round->n_controls, sizeof(*round->controls), compare);
	for (size_t i = 0; i < round->n_controls; i++) {
		uint64_t node = round->controls[i], fingerprint;

		if (i && node == round->controls[i - 1])
			continue;
		fingerprint = control_fingerprint(poller->mirror, node);
		if (control_note_change(poller, node, &fingerprint))
			replay_add(poller->mirror, REPLAY_MODIFIED, node, NULL, 0);
	}
}

void *wake_main(void *argument)
{
	struct poller *poller = argument;
	struct timespec next_check = after_ms(CHECK_MS);
	struct round round = {};
	int error;

	pthread_mutex_lock(&poller->lock);
	while (!poller->ended) {
		error = round_collect(poller, &round);
		pthread_mutex_unlock(&poller->lock);
		if (error) {
			/* Nothing better can be done than to wait for memory. */
			poll(NULL, 0, CHECK_MS);
		} else {
			round_poll(&round, round.n_controls ? ms_until(&next_check) : -1);
			round_wake(poller, &round);
			if (round.n_controls && is_past(&next_check)) {
				round_check_controls(poller, &round);
				next_check = after_ms(CHECK_MS);
			}
		}
		round_clear(poller, &round);
		pthread_mutex_lock(&poller->lock);
	}
	pthread_mutex_unlock(&poller->lock);
	return NULL;
}
