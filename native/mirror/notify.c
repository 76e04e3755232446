/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel must not believe any more, in its words: the notifications. Sent by stale.c's threads only.
 *
 * A name is never dropped, only expired: the kernel asks again when it is next used. Dropping it would tear what was
 * made anew under the same name from those who are in it.
 *
 * Source: fuse_reverse_inval_entry in fs/fuse/dir.c, fuse_reverse_inval_inode in fs/fuse/inode.c, fuse_readdir_cached
 * in fs/fuse/readdir.c; kernfs_add_one and __kernfs_remove in fs/kernfs/dir.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "stale.h"

static int notify(const struct cgfs_mirror *mirror, int code, struct iovec *parts, int n_parts)
{
	struct fuse_out_header header = {.len = sizeof(header), .error = code};

	parts[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	for (int i = 1; i < n_parts; i++)
		header.len += (uint32_t)parts[i].iov_len;
	return send_message(mirror, parts, n_parts);
}

static int forget_node(const struct cgfs_mirror *mirror, uint64_t node, int64_t offset)
{
	struct fuse_notify_inval_inode_out out = {.ino = node, .off = offset};
	struct iovec parts[2] = {[1] = {.iov_base = &out, .iov_len = sizeof(out)}};

	return notify(mirror, FUSE_NOTIFY_INVAL_INODE, parts, 2);
}

/* Both return 0, or -ENOENT if the kernel does not know the node. */
static int forget_attributes(const struct cgfs_mirror *mirror, uint64_t node)
{
	return forget_node(mirror, node, -1);
}

/* Its listing, too, which the kernel keeps: cgroup2 need not change a directory's times when entries come and go. */
static int forget_listing(const struct cgfs_mirror *mirror, uint64_t dir)
{
	return forget_node(mirror, dir, 0);
}

static void expire_name(const struct cgfs_mirror *mirror, uint64_t dir, const char *name)
{
	struct fuse_notify_inval_entry_out out = {
		.parent = dir,
		.namelen = (uint32_t)strlen(name),
		.flags = FUSE_EXPIRE_ONLY,
	};
	struct iovec parts[3] = {
		[1] = {.iov_base = &out, .iov_len = sizeof(out)},
		[2] = {.iov_base = (void *)(uintptr_t)name, .iov_len = out.namelen + 1},
	};

	notify(mirror, FUSE_NOTIFY_INVAL_ENTRY, parts, 3);
}

/*
 * Expire every name there is. Linux 6.16 and later; it takes directories that are in use from those who are in them,
 * as if they had been removed: for nothing but the loss of events, which the kernel reports when it has no memory.
 */
static void expire_everything(const struct cgfs_mirror *mirror)
{
	struct iovec parts[1];
	int error = notify(mirror, FUSE_NOTIFY_INC_EPOCH, parts, 1);

	if (error && error != -ENODEV && error != -ENOTCONN)
		fprintf(stderr, "cgfs: WARNING: the kernel lost events of cgroup2 and cannot forget what it knows of the "
				"mirror (%s): mount it anew\n", strerror(-error));
}

/* --- what is stale ----------------------------------------------------------------------------------------------------- */

static void expire_files(const struct cgfs_mirror *mirror, uint64_t dir)
{
	const char *name;

	if (forget_listing(mirror, dir))
		return;
	for (size_t i = 0; names_next(mirror, &i, &name);)
		expire_name(mirror, dir, name);
}

static void expire_files_of_children(const struct cgfs_mirror *mirror, uint64_t node)
{
	int fd = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			expire_files(mirror, node_id(mirror, NULL, entry->d_ino));
	}
	closedir(dir);
}

/*
 * A file that was open when its directory was removed stays in the kernel's cache when it is closed, and its directory
 * with it, for which a descriptor is kept (removed.c): what is expired goes at once.
 */
static void expire_files_of_removed(struct cgfs_mirror *mirror, uint64_t dir)
{
	/* Those that names_next() does not say: cgroup_base_files in kernel/cgroup/cgroup.c. */
	static const char *const always[] = {
		"cgroup.type", "cgroup.procs", "cgroup.threads", "cgroup.controllers", "cgroup.subtree_control",
		"cgroup.events", "cgroup.max.descendants", "cgroup.max.depth", "cgroup.stat", "cgroup.stat.local",
		"cgroup.freeze", "cgroup.kill", "cgroup.pressure",
	};

	if (forget_attributes(mirror, dir)) {
		/* What the kernel had under that name was another directory, and it will never say that it forgets this. */
		removed_forget(mirror, dir);
		return;
	}
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		expire_name(mirror, dir, always[i]);
	for (size_t i = 0; i < mirror->n_control_names; i++)
		expire_name(mirror, dir, mirror->control_names[i]);
	expire_files(mirror, dir);
}

void stale_tell(struct cgfs_mirror *mirror, const struct stale_item *item, bool first)
{
	bool known;

	switch (item->what) {
	case STALE_CREATED:
		known = forget_listing(mirror, item->node) == 0;
		if (known && first)
			replay_add(mirror, REPLAY_CREATED, item->node, item->name, 0);
		break;
	case STALE_DELETED:
		known = forget_listing(mirror, item->node) == 0;
		if (known)
			expire_name(mirror, item->node, item->name);
		if (known && first)
			replay_add(mirror, REPLAY_DELETED, item->node, item->name, item->child);
		break;
	case STALE_NODE:
	case STALE_EVENT:
		known = forget_attributes(mirror, item->node) == 0;
		if (known && first && item->what == STALE_EVENT)
			replay_add(mirror, REPLAY_MODIFIED, item->node, NULL, 0);
		break;
	case STALE_FILES:
		expire_files(mirror, item->node);
		break;
	case STALE_CHILDREN:
		expire_files_of_children(mirror, item->node);
		break;
	case STALE_REMOVED:
		/* Of most directories nothing is left by then. */
		if (!first)
			expire_files_of_removed(mirror, item->node);
		break;
	case STALE_ALL:
		if (first)
			expire_everything(mirror);
		break;
	}
}
