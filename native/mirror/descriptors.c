/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts the daemon's descriptors that are kept for open files, by user, so that no user can have all of them.
 *
 * A file that is open for writing, and whose writes come to the mirror, has one; so has each that is polled, and each that
 * is open for reading, for its attributes, should it be removed meanwhile. On cgroup2 itself each process has a limit of
 * its own. Here each user may have a quarter of what the daemon may have, as long as three quarters are not in use; root
 * may have any number, as long as thirteen sixteenths are not. From the first quarter in use on, a user is who is behind a
 * container (user.c), not a uid. Who has had his share can still open for reading, and poll without sleeping: neither needs
 * a descriptor. Opening for writing fails (ENFILE).
 *
 * One sixteenth may be kept of files that are not open any more, for the next who opens them (backing.c), and one of removed
 * directories (directory_removed.c): nobody is charged for those. The last one is the daemon's own.
 *
 * A control file has none; but what is kept for it in memory counts as descriptors, if it is much: who has opened it for
 * writing, with very many groups, and a long text that is being read; so do the pids that somebody in another PID namespace
 * reads.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "files.h"
#include "hash.h"
#include "user.h"

#define BUCKET_BITS 6

struct holder {
	LIST_ENTRY(holder) in_bucket;
	uint64_t user;
	unsigned long n;	/* descriptors; never 0 */
};

struct descriptors {
	unsigned long limit;				/* what the daemon may have; constant */
	_Atomic(unsigned long) n_all;			/* also read without the lock */
	pthread_mutex_t lock;				/* guards what follows; taken before no other */
	LIST_HEAD(holders, holder) buckets[1 << BUCKET_BITS];
};

int descriptors_create(struct cgfs_mirror *mirror)
{
	struct descriptors *descriptors = calloc(1, sizeof(*descriptors));
	struct rlimit limit;

	if (!descriptors)
		return -ENOMEM;
	mirror->descriptors = descriptors;
	pthread_mutex_init(&descriptors->lock, NULL);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	descriptors->limit = limit.rlim_cur;
	return 0;
}

void descriptors_destroy(struct cgfs_mirror *mirror)
{
	struct descriptors *descriptors = mirror->descriptors;

	if (!descriptors)
		return;
	for (unsigned int i = 0; i < 1u << BUCKET_BITS; i++) {
		struct holder *holder;

		while ((holder = LIST_FIRST(&descriptors->buckets[i]))) {
			LIST_REMOVE(holder, in_bucket);
			free(holder);
		}
	}
	pthread_mutex_destroy(&descriptors->lock);
	free(descriptors);
	mirror->descriptors = NULL;
}

static struct holders *bucket_of(struct descriptors *descriptors, uint64_t user)
{
	return &descriptors->buckets[hash_id(user, BUCKET_BITS)];
}

/* NULL: that user has none. Called with the lock held. */
static struct holder *find(struct descriptors *descriptors, uint64_t user)
{
	struct holder *holder;

	LIST_FOREACH(holder, bucket_of(descriptors, user), in_bucket) {
		if (holder->user == user)
			return holder;
	}
	return NULL;
}

/* Whether that user, who has so many, may have n more. Called with the lock held. */
static bool may_take(const struct descriptors *descriptors, uint64_t user, unsigned long has, unsigned int n)
{
	unsigned long sixteenth = descriptors->limit / 16, all = descriptors->n_all + n;

	return user ? has + n <= 4 * sixteenth && all <= 12 * sixteenth : all <= 13 * sixteenth;
}

/* Called with the lock held. */
static bool take(struct descriptors *descriptors, uint64_t user, unsigned int n)
{
	struct holder *holder = find(descriptors, user);

	if (!may_take(descriptors, user, holder ? holder->n : 0, n))
		return false;
	if (!holder) {
		holder = malloc(sizeof(*holder));
		if (!holder)
			return false;
		*holder = (struct holder){.user = user};
		LIST_INSERT_HEAD(bucket_of(descriptors, user), holder, in_bucket);
	}
	holder->n += n;
	descriptors->n_all += n;
	return true;
}

/* Called with the lock held. */
static void give(struct descriptors *descriptors, uint64_t user, unsigned int n)
{
	struct holder *holder = find(descriptors, user);

	descriptors->n_all -= n;
	holder->n -= n;
	if (holder->n)
		return;
	LIST_REMOVE(holder, in_bucket);
	free(holder);
}

unsigned int descriptors_spare(const struct cgfs_mirror *mirror, unsigned int wanted)
{
	unsigned long spare = mirror->descriptors->limit / 16;

	return wanted < spare ? wanted : (unsigned int)spare;
}

uint64_t descriptor_user(const struct request *request)
{
	const struct descriptors *descriptors = request->mirror->descriptors;

	return descriptors->n_all < descriptors->limit / 4 ? request->caller.uid : user_of(&request->caller);
}

bool descriptors_take(struct cgfs_mirror *mirror, uint64_t user, unsigned int n)
{
	struct descriptors *descriptors = mirror->descriptors;
	bool taken;

	pthread_mutex_lock(&descriptors->lock);
	taken = take(descriptors, user, n);
	pthread_mutex_unlock(&descriptors->lock);
	return taken;
}

void descriptors_give(struct cgfs_mirror *mirror, uint64_t user, unsigned int n)
{
	struct descriptors *descriptors = mirror->descriptors;

	pthread_mutex_lock(&descriptors->lock);
	give(descriptors, user, n);
	pthread_mutex_unlock(&descriptors->lock);
}
