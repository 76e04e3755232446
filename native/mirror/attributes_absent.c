/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes that are known not to be there. `ls -l` asks each file for its security label, each time that it lists
 * it, and FUSE keeps no extended attributes; nor their absence. What was not there is not there for as long as nothing is
 * counted (watch_counts()). (Of a file that goes without that, which backing.c tells of, it is said for longer: it has none.)
 *
 * Each has its place by node and name: a new one takes the place of whatever is there.
 */
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "hash.h"
#include "watch.h"

#define PLACE_BITS 15		/* so that a thousand seldom meet */
#define NAME_SIZE 24		/* of those that are kept: longer ones are asked for seldom */

struct place {
	uint64_t node;			/* 0: it is empty */
	struct counts counts;
	char name[NAME_SIZE];
};

struct absent {
	pthread_mutex_t lock;		/* guards the rest; no other is taken under it */
	struct place places[1 << PLACE_BITS];
};

int absent_create(struct cgfs_mirror *mirror)
{
	mirror->absent = calloc(1, sizeof(*mirror->absent));
	if (!mirror->absent)
		return -ENOMEM;
	pthread_mutex_init(&mirror->absent->lock, NULL);
	return 0;
}

void absent_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->absent)
		return;
	pthread_mutex_destroy(&mirror->absent->lock);
	free(mirror->absent);
	mirror->absent = NULL;
}

/* NULL: it has none. */
static struct place *place_of(struct absent *absent, uint64_t node, const char *name)
{
	size_t length = strlen(name);

	if (length >= NAME_SIZE)
		return NULL;
	return &absent->places[hash_id(node ^ hash_bytes(name, length), PLACE_BITS)];
}

bool absent_is_known(const struct cgfs_mirror *mirror, uint64_t node, const char *name, struct counts *counts)
{
	struct absent *absent = mirror->absent;
	bool has_counted = watch_has_counted(mirror), is_known;
	const struct place *place = place_of(absent, node, name);

	*counts = watch_counts(mirror);
	if (!has_counted || !place)
		return false;
	pthread_mutex_lock(&absent->lock);
	is_known = place->node == node && is_same_count(&place->counts, counts) && strcmp(place->name, name) == 0;
	pthread_mutex_unlock(&absent->lock);
	return is_known;
}

void absent_note(const struct cgfs_mirror *mirror, uint64_t node, const char *name, const struct counts *counts)
{
	struct absent *absent = mirror->absent;
	struct place *place = place_of(absent, node, name);

	if (!place)
		return;
	pthread_mutex_lock(&absent->lock);
	*place = (struct place){.node = node, .counts = *counts};
	strcpy(place->name, name);
	pthread_mutex_unlock(&absent->lock);
}
