/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that wakes those who wait for a change (poll_waiter.c).
 *
 * It polls our descriptors: one for each waiter but those of control files, so they are never more than the process may
 * have. Others' changes of a control file are looked for while somebody waits for one, and only then: there is no event.
 * Once for each file and interval, however many wait for it; who begins to wait meanwhile disturbs nobody.
 */
#include "poll.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "monotonic.h"
#include "watch.h"

#define CHECK_MS 400

/* What the thread waits for at a time. */
struct round {
	struct waiter **waiters;	/* counted */
	struct pollfd *ready;		/* one for each, and the last is the poller's own */
	size_t n;
};

static void round_clear(struct poller *poller, struct round *round)
{
	for (size_t i = 0; i < round->n; i++)
		waiter_put(poller, round->waiters[i]);
	free(round->waiters);
	free(round->ready);
	*round = (struct round){};
}

/* Called with the lock held. */
static int round_collect(struct poller *poller, struct round *round)
{
	struct waiter *waiter = NULL;

	round->waiters = calloc(poller->n_waiters + 1, sizeof(struct waiter *));
	round->ready = calloc(poller->n_waiters + 1, sizeof(*round->ready));
	if (!round->waiters || !round->ready)
		return -ENOMEM;
	while ((waiter = waiter_find(poller, ALL, ALL_OTHERS, waiter))) {
		if (!waiter->armed || waiter->fd < 0)
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

/* The control files for which somebody waits, with repetitions. Called with the lock held. NULL: no memory. */
static uint64_t *armed_controls(struct poller *poller, size_t *n)
{
	uint64_t *nodes = calloc(poller->n_waiters + 1, sizeof(*nodes));
	struct waiter *waiter = NULL;

	*n = 0;
	while (nodes && (waiter = waiter_find(poller, ALL, ALL_CONTROLS, waiter))) {
		if (waiter->armed)
			nodes[(*n)++] = waiter->node;
	}
	return nodes;
}

/* See what others have changed, but once for each file. Where nobody waits any more, this is done no more. */
static void check_controls(struct poller *poller)
{
	uint64_t *nodes, fingerprint;
	size_t n;

	pthread_mutex_lock(&poller->lock);
	nodes = armed_controls(poller, &n);
	poller->looks_at_controls = !nodes || n;
	pthread_mutex_unlock(&poller->lock);
	if (nodes)
		qsort(nodes, n, sizeof(*nodes), compare);
	for (size_t i = 0; i < n; i++) {
		if (i && nodes[i] == nodes[i - 1])
			continue;
		fingerprint = control_fingerprint(poller->mirror, nodes[i]);
		if (control_note_change(poller, nodes[i], &fingerprint))
			replay_add(poller->mirror, REPLAY_MODIFIED, nodes[i], NULL, 0);
	}
	free(nodes);
}

void *wake_main(void *argument)
{
	struct poller *poller = argument;
	struct timespec next_check = after_ms(CHECK_MS);
	struct round round = {};
	bool checks;
	int error;

	pthread_mutex_lock(&poller->lock);
	while (!poller->ended) {
		error = round_collect(poller, &round);
		checks = poller->looks_at_controls;
		pthread_mutex_unlock(&poller->lock);
		if (error) {
			/* Nothing better can be done than to wait for memory. */
			poll(NULL, 0, CHECK_MS);
		} else {
			round_poll(&round, checks ? ms_until(&next_check) : -1);
			round_wake(poller, &round);
		}
		if (checks && is_past(&next_check)) {
			check_controls(poller);
			next_check = after_ms(CHECK_MS);
		}
		round_clear(poller, &round);
		pthread_mutex_lock(&poller->lock);
	}
	pthread_mutex_unlock(&poller->lock);
	return NULL;
}
