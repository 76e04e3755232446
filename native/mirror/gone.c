/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What to answer about a file or directory that is gone.
 *
 * Who came by a path is told ESTALE: the kernel looks all its names up anew, once, and what has the same name now is found. Who
 * comes back with the same question came by no path: he has the directory open, or as his working directory, and gets ENOENT,
 * as on cgroup2. That is so for this once: next time he may come by a path, as long as the kernel has not forgotten the name.
 * Nor does it do to know that it has: he may have passed it before.
 *
 * Each who was told has a place by thread and node: a new one takes the place of whoever is there, who is told once more. Threads
 * that are not to be seen are one.
 */
#include <stdlib.h>

#include "files.h"
#include "hash.h"

#define PLACE_BITS 10

struct told {
	uint32_t tid;
	uint64_t node;		/* 0: nobody */
};

struct gone {
	pthread_mutex_t lock;	/* guards the rest; no other is taken under it */
	struct told places[1 << PLACE_BITS];
};

int gone_create(struct cgfs_mirror *mirror)
{
	mirror->gone = calloc(1, sizeof(*mirror->gone));
	if (!mirror->gone)
		return -ENOMEM;
	pthread_mutex_init(&mirror->gone->lock, NULL);
	return 0;
}

void gone_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->gone)
		return;
	pthread_mutex_destroy(&mirror->gone->lock);
	free(mirror->gone);
	mirror->gone = NULL;
}

int gone_error(const struct request *request)
{
	const struct told told = {.tid = request->header->pid, .node = request->header->nodeid};
	struct gone *gone = request->mirror->gone;
	struct told *place = &gone->places[hash_id(told.node ^ (uint64_t)told.tid << 32, PLACE_BITS)];
	bool is_back;

	pthread_mutex_lock(&gone->lock);
	is_back = place->tid == told.tid && place->node == told.node;
	*place = is_back ? (struct told){} : told;
	pthread_mutex_unlock(&gone->lock);
	return is_back ? -ENOENT : -ESTALE;
}
