/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times on CLOCK_MONOTONIC, and conditions that go by it. */
#ifndef CGFS_MIRROR_MONOTONIC_H
#define CGFS_MIRROR_MONOTONIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Microseconds, since some time in the past. */
static inline uint64_t monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* So many milliseconds from now. */
static inline struct timespec after_ms(long ms)
{
	struct timespec when;

	clock_gettime(CLOCK_MONOTONIC, &when);
	when.tv_sec += ms / 1000;
	when.tv_nsec += ms % 1000 * 1000 * 1000;
	if (when.tv_nsec >= 1000 * 1000 * 1000) {
		when.tv_nsec -= 1000 * 1000 * 1000;
		when.tv_sec++;
	}
	return when;
}

static inline bool is_before(const struct timespec *one, const struct timespec *other)
{
	return one->tv_sec < other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

static inline bool is_past(const struct timespec *when)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return !is_before(&now, when);
}

/* How long it is from now until then, rounded up; 0 if that is past. */
static inline int ms_until(const struct timespec *when)
{
	struct timespec now;
	long long ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ns = (when->tv_sec - now.tv_sec) * 1000000000LL + when->tv_nsec - now.tv_nsec;
	return ns > 0 ? (int)((ns + 999999) / 1000000) : 0;
}

static inline void init_monotonic(pthread_cond_t *condition)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

#endif
