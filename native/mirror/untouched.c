/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control files that nobody has touched: nothing is attached, and there is no note of anything. Nearly all are like that,
 * and a walk over a tree asks for three of them in each directory. What they are and say is told at the start by whoever
 * decides about control files (struct cgfs_untouched). Where nothing is attached now, a file says the same, noted or not.
 */
#include "internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "../bpf.h"

#define NS_PER_S 1000000000ull

/*
 * Whether the directory has a note about that control file. If that cannot be found out, too. Each is asked for by its
 * name: to list a directory's attributes makes kernfs give it attributes, and new times (kernfs_iop_listxattr).
 */
static bool is_noted(const struct cgfs_untouched *untouched, int dir, size_t index)
{
	for (size_t i = 0; i < untouched->n_notes; i++) {
		if (fgetxattr(dir, untouched->note_names[index * untouched->n_notes + i], NULL, 0) >= 0 || errno != ENODATA)
			return true;
	}
	return false;
}

/*
 * Whether nothing is attached to the cgroup whose directory is open as dir, and the revision of that. If it cannot be found
 * out, no.
 */
static bool nothing_in(const struct cgfs_mirror *mirror, int dir, uint64_t node, uint64_t *revision)
{
	struct cgfs_query query = {};

	if (dir < 0 || !mirror->untouched.content || !mirror->control_attach_types)
		return false;
	if (cgfs_prog_query(dir, mirror->control_attach_types[node_control_index(node)], 0, NULL, NULL, 0, &query))
		return false;
	*revision = query.revision;
	return !query.count;
}

bool nothing_attached(const struct cgfs_mirror *mirror, uint64_t node)
{
	CLEANUP_FD int dir = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	uint64_t revision;

	return nothing_in(mirror, dir, node, &revision);
}

/* --- attributes -------------------------------------------------------------------------------------------------------- */

struct fuse_attr control_attributes(uint64_t node, const struct cgfs_control_attributes *attributes)
{
	struct fuse_attr attr = {
		.ino = node,
		.size = attributes->size,
		.mode = S_IFREG | attributes->mode,
		.nlink = 1,
		.uid = attributes->uid,
		.gid = attributes->gid,
		.blksize = 4096,
	};

	attr.atime = attr.mtime = attributes->modified_ns / NS_PER_S;
	attr.atimensec = attr.mtimensec = (uint32_t)(attributes->modified_ns % NS_PER_S);
	attr.ctime = attributes->changed_ns / NS_PER_S;
	attr.ctimensec = (uint32_t)(attributes->changed_ns % NS_PER_S);
	return attr;
}

/*
 * Owner and group are those of cgroup.controllers. Without a revision the time of modification would have to be made of the
 * content: that is not done here.
 */
static bool attributes_in(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_attr *attr)
{
	const struct cgfs_untouched *untouched = &mirror->untouched;
	struct cgfs_control_attributes attributes = {};
	uint64_t revision;
	struct stat st;

	if (!nothing_in(mirror, dir, node, &revision) || !revision || is_noted(untouched, dir, node_control_index(node)) ||
	    fstatat(dir, "cgroup.controllers", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	attributes.uid = st.st_uid;
	attributes.gid = st.st_gid;
	attributes.mode = untouched->mode;
	attributes.size = strlen(untouched->content);
	attributes.modified_ns = (uint64_t)untouched->time_s * NS_PER_S + revision % NS_PER_S;
	attributes.changed_ns = attributes.modified_ns;
	*attr = control_attributes(node, &attributes);
	return true;
}

bool untouched_attributes(const struct cgfs_mirror *mirror, uint64_t node, struct fuse_attr *attr)
{
	CLEANUP_FD int dir = node_open(mirror, node, O_RDONLY | O_DIRECTORY);

	return attributes_in(mirror, dir, node, attr);
}

bool untouched_entry(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){.nodeid = node, .entry_valid = CACHE_SECONDS};
	return attributes_in(mirror, dir, node, &entry->attr);
}
