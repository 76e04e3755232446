/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many workers may wait for one user, and what becomes of the requests that are too many: they are kept, without a
 * thread, until one of that user's workers has answered.
 *
 * Whoever can read a directory can make all wait who want a name in it: by a getdents(2) whose buffer is never there, for
 * one. Those who wait on cgroup2 itself are so many threads of his own; here each would hold a worker of everybody's.
 *
 * A LOOKUP is never kept. Until it is answered, everybody who wants that name waits with it in the kernel; and everybody who
 * wants any name in that directory, if it is part of an open(2) with O_CREAT, which who may not write there can try, too. So
 * LOOKUPs go on until twice as many workers wait for their user, and are refused then.
 *
 * Many users together must not have all workers either: from some point on each has a few only. Root's share is for itself.
 * Messages for which nobody waits, and which wait for nobody, are outside of all this.
 *
 * Sources: d_alloc_parallel in fs/dcache.c, open_last_lookups in fs/namei.c.
 */
#include <stdlib.h>
#include <string.h>

#include "loop.h"

#define SHARE_OF_ROOT 200
#define SHARE_OF_USER 64
#define SHARE_OF_OTHERS 256	/* of all but root: then each has FEW */
#define FEW 8
#define LOOKUPS 2		/* so many times these, with LOOKUPs */
#define MANY_USERS 16		/* with FEW each; if more than these do their worst together, nobody reads */
#define CROWD 16		/* waiting workers: from here on a user is who is behind a container (user.c), not a uid */
_Static_assert(MAX_WORKERS >= MAX_READERS + LOOKUPS * (SHARE_OF_ROOT + MANY_USERS * FEW) + SHARE_OF_OTHERS,
	       "one still reads when so many wait");

/* Of one user's requests. Nearly all have 100 bytes, and each has a thread of his that waits. */
#define MOST_KEPT_BYTES (16u << 20)

struct deferred {
	TAILQ_ENTRY(deferred) next;
	size_t size;
	char request[] __attribute__((aligned(8)));
};

struct share {
	LIST_ENTRY(share) next;
	uint64_t user;
	unsigned int n_waiting;		/* workers; never 0 */
	bool surprised;			/* one of them has waited unexpectedly */
	size_t kept_bytes;
	TAILQ_HEAD(, deferred) kept;	/* the oldest first */
};

bool share_is_crowded(const struct loop *loop)
{
	return loop->n_waiting_all >= CROWD;
}

static struct share *share_of(const struct loop *loop, uint64_t user)
{
	struct share *share;

	LIST_FOREACH(share, &loop->shares, next) {
		if (share->user == user)
			return share;
	}
	return NULL;
}

/* How many workers may wait for that user now, where such a request is one more. */
static unsigned int most_of(const struct loop *loop, const struct share *share, uint32_t opcode)
{
	unsigned int most = FEW;

	if (share->user == 0)
		most = SHARE_OF_ROOT;
	else if (loop->n_waiting_others < SHARE_OF_OTHERS)
		most = SHARE_OF_USER;
	return opcode == FUSE_LOOKUP ? LOOKUPS * most : most;
}

bool has_caller(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_RELEASE && opcode != FUSE_RELEASEDIR && opcode != FUSE_DESTROY;
}

bool share_expects_surprise(const struct worker *worker)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)worker->request;
	const struct share *share = share_of(worker->loop, worker->user);

	return share && share->surprised && has_caller(header->opcode);
}

static void refuse(const struct worker *worker)
{
	struct request request = {
		.mirror = worker->loop->mirror,
		.header = (const struct fuse_in_header *)worker->request,
	};

	reply_error(&request, -ENOMEM);
}

/* Returns false if there is no memory for it. */
static bool keep(struct share *share, const struct worker *worker, size_t size)
{
	struct deferred *deferred;

	if (share->kept_bytes + size > MOST_KEPT_BYTES)
		return false;
	deferred = malloc(sizeof(*deferred) + size);
	if (!deferred)
		return false;
	*deferred = (struct deferred){.size = size};
	memcpy(deferred->request, worker->request, size);
	TAILQ_INSERT_TAIL(&share->kept, deferred, next);
	share->kept_bytes += size;
	return true;
}

bool share_defer(struct worker *worker, size_t size)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)worker->request;
	struct share *share = share_of(worker->loop, worker->user);

	if (!share || !has_caller(header->opcode) || share->n_waiting < most_of(worker->loop, share, header->opcode))
		return false;
	if (header->opcode == FUSE_LOOKUP || !keep(share, worker, size))
		refuse(worker);
	return true;
}

static struct share *share_create(struct loop *loop, uint64_t user)
{
	struct share *share = malloc(sizeof(*share));

	if (!share)
		return NULL;
	*share = (struct share){.user = user};
	TAILQ_INIT(&share->kept);
	LIST_INSERT_HEAD(&loop->shares, share, next);
	return share;
}

/* Without memory, the worker waits for nobody in particular. */
void share_take(struct worker *worker, bool expected)
{
	struct share *share = share_of(worker->loop, worker->user);

	if (!share)
		share = share_create(worker->loop, worker->user);
	worker->share = share;
	if (!share)
		return;
	share->n_waiting++;
	share->surprised |= !expected;
	worker->loop->n_waiting_all++;
	worker->loop->n_waiting_others += share->user != 0;
}

static void forget(struct share *share, struct deferred *deferred)
{
	TAILQ_REMOVE(&share->kept, deferred, next);
	share->kept_bytes -= deferred->size;
	free(deferred);
}

static void share_remove(struct share *share)
{
	LIST_REMOVE(share, next);
	free(share);
}

static void leave(struct worker *worker)
{
	struct share *share = worker->share;

	worker->share = NULL;
	share->n_waiting--;
	worker->loop->n_waiting_all--;
	worker->loop->n_waiting_others -= share->user != 0;
	if (!share->n_waiting && TAILQ_EMPTY(&share->kept))
		share_remove(share);
}

size_t share_give(struct worker *worker)
{
	struct share *share = worker->share;
	struct loop *loop = worker->loop;
	struct deferred *deferred;
	size_t size;

	if (!share)
		return 0;
	/* Those that stay go on with what is kept. */
	if (TAILQ_EMPTY(&share->kept) || loop->ended || share->n_waiting > most_of(loop, share, 0)) {
		leave(worker);
		return 0;
	}
	deferred = TAILQ_FIRST(&share->kept);
	size = deferred->size;
	memcpy(worker->request, deferred->request, size);
	forget(share, deferred);
	return size;
}

/* Only these end with EINTR, of all that may wait for long. */
static bool may_be_interrupted(const struct deferred *deferred, uint64_t unique)
{
	const struct fuse_in_header *header = (const struct fuse_in_header *)deferred->request;

	return header->unique == unique && (header->opcode == FUSE_WRITE || header->opcode == FUSE_IOCTL);
}

bool share_interrupt(struct loop *loop, uint64_t unique)
{
	struct deferred *deferred;
	struct share *share;

	LIST_FOREACH(share, &loop->shares, next) {
		TAILQ_FOREACH(deferred, &share->kept, next) {
			struct request request = {.mirror = loop->mirror};

			if (!may_be_interrupted(deferred, unique))
				continue;
			request.header = (const struct fuse_in_header *)deferred->request;
			reply_error(&request, -EINTR);
			forget(share, deferred);
			return true;
		}
	}
	return false;
}

void share_free_all(struct loop *loop)
{
	struct share *share;

	while ((share = LIST_FIRST(&loop->shares))) {
		while (!TAILQ_EMPTY(&share->kept))
			forget(share, TAILQ_FIRST(&share->kept));
		share_remove(share);
	}
}
