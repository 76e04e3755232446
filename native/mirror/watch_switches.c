/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that bring others, and take them away, by what is written to them. The kernel makes and removes those others
 * without an event; the write that made it do so is one, by whomever: they are written by the mount that everybody sees (file.c).
 *
 * Sources: cgroup_pressure_write, cgroup_subtree_control_write and cgroup_type_write in kernel/cgroup/cgroup.c.
 */
#include "watch.h"

#include <fcntl.h>
#include <string.h>

#include "../cgroup.h"

#define MAX_BASE_FILES 32	/* of a cgroup; there are some twenty (cgroup_base_files in kernel/cgroup/cgroup.c) */

/* The directory's own, its child directories'. */
static const struct switch_file {
	const char *name;
	bool own, childrens;
} switches[] = {
	{"cgroup.subtree_control", false, true},
	{"cgroup.type", true, true},	/* threaded cgroups have no files of most controllers */
	{"cgroup.pressure", true, false},
};
#define N_SWITCHES (sizeof(switches) / sizeof(switches[0]))

/* NULL if there is none of that name. */
static const struct switch_file *find(const char *name)
{
	for (size_t i = 0; i < N_SWITCHES; i++) {
		if (strcmp(name, switches[i].name) == 0)
			return &switches[i];
	}
	return NULL;
}

bool is_switch(const char *name)
{
	return find(name);
}

static void written(struct cgfs_mirror *mirror, const struct switch_file *file, uint64_t dir)
{
	watch_count_removal(mirror);
	if (file->own)
		stale_add(mirror, STALE_FILES, dir, NULL, 0);
	if (file->childrens)
		stale_add(mirror, STALE_CHILDREN, dir, NULL, 0);
}

void switch_written(struct cgfs_mirror *mirror, const char *name, uint64_t dir)
{
	const struct switch_file *file = find(name);

	if (file)
		written(mirror, file, dir);
}

/* The directory was made just before the file, since kernfs numbers upwards: the next one below. Returns -1 if there is none. */
static int open_directory_of(const struct cgfs_mirror *mirror, uint64_t file)
{
	int dir = -1;

	for (uint64_t id = file - 1; dir < 0 && id && file - id <= MAX_BASE_FILES; id--)
		dir = cgfs_open_by_kernfs_id(mirror->source_fd, id, O_PATH | O_DIRECTORY);
	return dir;
}

void switch_find(struct cgfs_mirror *mirror, uint64_t file)
{
	CLEANUP_FD int dir = open_directory_of(mirror, file);
	uint64_t dir_id, id;

	if (dir < 0 || kernfs_id_at(dir, "", AT_EMPTY_PATH, &dir_id))
		return;
	for (size_t i = 0; i < N_SWITCHES; i++) {
		if (kernfs_id_at(dir, switches[i].name, AT_SYMLINK_NOFOLLOW, &id) == 0 && id == file)
			written(mirror, &switches[i], node_id(mirror, NULL, dir_id));
	}
}
