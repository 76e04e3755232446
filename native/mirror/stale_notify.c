/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel must not believe any more, in its words: the notifications. Sent by stale.c's thread, or in the lane of
 * the directory (lanes.c) where the kernel takes a lock for it: the directory's to find a name in it, and those of the
 * pages of its listing.
 *
 * A thread that waits for a lock in a notification cannot be killed. Whoever has the lock may wait for an answer of ours: so,
 * when the daemon is killed, what was read from the connection has to come to its end, which it does when the descriptor is
 * closed from which it was read. That is why the lanes have another one, and a table of descriptors without that.
 *
 * A name is never dropped, only expired: the kernel asks again when it is next used. Dropping it would tear what was
 * made anew under the same name from those who are in it. (A kernel before 6.2 does not know the difference, and drops it.)
 *
 * Source: fuse_reverse_inval_entry in fs/fuse/dir.c, fuse_reverse_inval_inode in fs/fuse/inode.c, fuse_readdir_cached
 * in fs/fuse/readdir.c; fuse_dev_release in fs/fuse/dev.c; kernfs_add_one and __kernfs_remove in fs/kernfs/dir.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "hash.h"
#include "stale.h"

static int notify(const struct cgfs_mirror *mirror, int code, struct iovec *parts, int n_parts)
{
	struct fuse_out_header header = {.len = sizeof(header), .error = code};

	parts[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	for (int i = 1; i < n_parts; i++)
		header.len += (uint32_t)parts[i].iov_len;
	return send_message(mirror->notify_fd, parts, n_parts);
}

/* Returns false if the kernel does not know the node; where it could not be told (no memory, say) it may know it. */
static bool inval_node(const struct cgfs_mirror *mirror, uint64_t node, int64_t offset)
{
	struct fuse_notify_inval_inode_out out = {.ino = node, .off = offset};
	struct iovec parts[2] = {[1] = {.iov_base = &out, .iov_len = sizeof(out)}};

	return notify(mirror, FUSE_NOTIFY_INVAL_INODE, parts, 2) != -ENOENT;
}

bool inval_attributes(const struct cgfs_mirror *mirror, uint64_t node)
{
	return inval_node(mirror, node, -1);
}

/* Its listing, too, which the kernel keeps: cgroup2 need not change a directory's times when entries come and go. */
static bool inval_listing(const struct cgfs_mirror *mirror, uint64_t dir)
{
	return inval_node(mirror, dir, 0);
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

/* --- in the directory's lane ------------------------------------------------------------------------------------------ */

enum expiry {
	EXPIRE_LISTING,
	EXPIRE_NAME,		/* text, which stood for the directory child */
	EXPIRE_FILES,		/* and the listing */
	EXPIRE_ALL_FILES,	/* also those that are always there */
	EXPIRE_CHILDREN,	/* the files of each child directory are stale */
	FIND_SWITCH,		/* what comes of a write to the file child */
};
/*
 * Files of one directory are mostly in one lane, though their directory is not known: their ids follow each other. It is none of
 * a directory's, which somebody may hold.
 */
#define LANE_OF_NAMELESS(id) (NODE_CONTROL | ((id) & ~63ull))

static void add(struct lanes *lanes, enum expiry what, uint64_t dir)
{
	if (lanes_add(lanes, what, dir, "", 0, true) || lanes_have_ended(lanes))
		return;
	perror("cgfs: cannot keep the kernel's view of cgroup2 up to date");
	abort();
}

/* Those that are there as long as their directory. */
static bool is_core_file(const char *name)
{
	return strncmp(name, "cgroup.", 7) == 0;
}

/*
 * The names of the files that may have come or gone, while the directory stays; where it was removed, of all. For a file that
 * was open then stays in the kernel's cache when it is closed, and its directory with it, for which a descriptor is kept
 * (directory_removed.c): what is expired goes at once.
 */
static void expire_files(struct cgfs_mirror *mirror, uint64_t dir, bool removed)
{
	const char *name;

	if (!inval_listing(mirror, dir))
		return;
	for (size_t i = 0; removed && i < mirror->n_control_names; i++)
		expire_name(mirror, dir, mirror->control_names[i]);
	for (size_t i = 0; names_next(mirror, &i, &name) && !lanes_have_ended(stale_lanes(mirror));) {
		if (removed || !is_core_file(name))
			expire_name(mirror, dir, name);
	}
}

static void expire_files_of_children(struct cgfs_mirror *mirror, uint64_t node)
{
	int fd = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		/* Where there is no memory, or no descriptor, it is tried again. */
		if (fd != -ESTALE && fd != -ENOENT && !lanes_have_ended(stale_lanes(mirror)))
			stale_add(mirror, STALE_CHILDREN, node, NULL, 0);
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		uint64_t child = node_id(mirror, NULL, entry->d_ino);

		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			stale_add(mirror, STALE_FILES, child, NULL, 0);
	}
	closedir(dir);
}

void stale_expire(struct cgfs_mirror *mirror, const struct errand *errand)
{
	switch ((enum expiry)errand->what) {
	case EXPIRE_LISTING:
		inval_listing(mirror, errand->node);
		break;
	case EXPIRE_NAME:
		expire_name(mirror, errand->node, errand->text);
		gone_note_forgotten(mirror, errand->child);
		break;
	case EXPIRE_FILES:
		expire_files(mirror, errand->node, false);
		break;
	case EXPIRE_ALL_FILES:
		expire_files(mirror, errand->node, true);
		break;
	case EXPIRE_CHILDREN:
		expire_files_of_children(mirror, errand->node);
		break;
	case FIND_SWITCH:
		switch_find(mirror, errand->child);
		break;
	}
}

/* --- what is stale ----------------------------------------------------------------------------------------------------- */

/* Whether the kernel knows it. */
static bool forget_once(const struct cgfs_mirror *mirror, struct stale_round *round, uint64_t node)
{
	size_t slot = hash_id(node, TOLD_BITS);

	if (round->told[slot].number != round->number || round->told[slot].node != node) {
		round->told[slot].number = round->number;
		round->told[slot].node = node;
		round->told[slot].known = inval_attributes(mirror, node);
	}
	return round->told[slot].known;
}

bool stale_inval(struct cgfs_mirror *mirror, struct stale_round *round, struct stale_item *item)
{
	if (item->what == STALE_CHILDREN || item->what == STALE_NAMELESS || item->what == STALE_ALL)
		return false;
	if (item->what == STALE_DELETED)
		forget_once(mirror, round, node_id(mirror, NULL, item->child));
	item->known = forget_once(mirror, round, item->node);
	return true;
}

static void tell_of_creation(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item)
{
	add(lanes, EXPIRE_LISTING, item->node);
	if (item->first)
		replay_add(mirror, REPLAY_CREATED, item->node, item->name, 0);
}

/*
 * The name, too, where the kernel knows nothing of what was removed: somebody may be listing the directory, and when he goes
 * on, the kernel makes names of what he was told. Where there is no room for the name it is not expired. Who uses it
 * finds out that what it stood for is gone (stale.c), but where the kernel knows it from such a listing only: that name
 * is believed until its time is up.
 */
static void tell_of_removal(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item)
{
	uint64_t child = node_id(mirror, NULL, item->child);

	if (!item->known) {
		gone_note_forgotten(mirror, child);
		return;
	}
	lanes_add(lanes, EXPIRE_NAME, item->node, item->name, child, false);
	add(lanes, EXPIRE_LISTING, item->node);
	if (item->first)
		replay_add(mirror, REPLAY_DELETED, item->node, item->name, item->child);
}

/* Where there is no room for it, what comes of the write is not made known. */
static void find_switch(struct lanes *lanes, uint64_t file)
{
	char text[24];	/* an errand of its own for each file */

	snprintf(text, sizeof(text), "%" PRIu64, file);
	lanes_add(lanes, FIND_SWITCH, LANE_OF_NAMELESS(file), text, file, false);
}

/* If it is not known, what the kernel had under that name was another directory, and it will never say that it forgets
 * this. */
static void tell_of_removal_by_us(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item)
{
	if (item->known)
		add(lanes, EXPIRE_ALL_FILES, item->node);
	else
		removed_forget(mirror, item->node);
}

void stale_give_to_lanes(struct cgfs_mirror *mirror, struct lanes *lanes, const struct stale_item *item)
{
	switch (item->what) {
	case STALE_CREATED:
		if (item->known)
			tell_of_creation(mirror, lanes, item);
		break;
	case STALE_DELETED:
		tell_of_removal(mirror, lanes, item);
		break;
	case STALE_NODE:
		break;
	case STALE_EVENT:
		if (item->known && item->first)
			replay_add(mirror, REPLAY_MODIFIED, item->node, NULL, 0);
		break;
	case STALE_FILES:
		if (item->known)
			add(lanes, EXPIRE_FILES, item->node);
		break;
	case STALE_CHILDREN:
		add(lanes, EXPIRE_CHILDREN, item->node);
		break;
	case STALE_NAMELESS:
		if (item->first)
			find_switch(lanes, item->node);
		break;
	case STALE_REMOVED:
		tell_of_removal_by_us(mirror, lanes, item);
		break;
	case STALE_ALL:
		if (item->first)
			expire_everything(mirror);
		break;
	}
}
