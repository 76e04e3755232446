/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names of files, as far as the kernel has heard of them from us: what watch.c and stale.c can take back. They are those
 * of the kernel's own files, so there are few, however many cgroups there are: a name is never forgotten.
 */
#include "watch.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Far more than cgroup2 has. */
#define N_NAMES 2048

struct names {
	_Atomic(char *) slots[N_NAMES];	/* a hash table: added to without a lock, never removed from */
};

int names_create(struct cgfs_mirror *mirror)
{
	mirror->names = calloc(1, sizeof(*mirror->names));
	return mirror->names ? 0 : -ENOMEM;
}

void names_destroy(struct cgfs_mirror *mirror)
{
	for (size_t i = 0; mirror->names && i < N_NAMES; i++)
		free(mirror->names->slots[i]);
	free(mirror->names);
	mirror->names = NULL;
}

/* What stands in a slot; the name itself (copied) if it was free. NULL: no memory. */
static const char *name_in_slot(_Atomic(char *) *slot, const char *name)
{
	char *there = atomic_load_explicit(slot, memory_order_acquire), *copy;

	if (there)
		return there;
	copy = strdup(name);
	if (!copy || atomic_compare_exchange_strong(slot, &there, copy))
		return copy;
	free(copy);
	return there;
}

bool names_add(const struct cgfs_mirror *mirror, const char *name)
{
	size_t i = hash_bytes(name, strlen(name)) % N_NAMES;

	for (size_t n = 0; n < N_NAMES; n++, i = (i + 1) % N_NAMES) {
		const char *there = name_in_slot(&mirror->names->slots[i], name);

		if (!there)
			return false;
		if (strcmp(there, name) == 0)
			return true;
	}
	return false;
}

bool names_next(const struct cgfs_mirror *mirror, size_t *index, const char **name)
{
	while (*index < N_NAMES) {
		*name = atomic_load_explicit(&mirror->names->slots[(*index)++], memory_order_acquire);
		if (*name)
			return true;
	}
	return false;
}
