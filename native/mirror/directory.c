/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and directories: lookup, mkdir, rmdir, and listings with the control files at their end. */
#include "control_known.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "identity.h"
#include "watch.h"

/* The directory that the request is about. Returns a descriptor or -errno. */
static int open_directory(struct request *request)
{
	int dir = node_open_path(request->mirror, request->header->nodeid);

	return dir == -ESTALE ? gone_error(request) : dir;
}

static int stat_name(const struct directory *dir, const char *name, struct stat *st)
{
	if (dir->fd < 0)
		return dir->fd;
	return fstatat(dir->fd, name, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* What has that name in the directory that the request is about, with its size. Returns 0 or -errno. */
static int find_name(struct request *request, const char *name, struct stat *st)
{
	struct directory KEEP_DIRECTORY dir = directory_open(request->mirror, request->header->nodeid, O_PATH);
	int error = stat_name(&dir, name, st);

	if (error && dir.was_kept) {
		directory_open_anew(&dir);
		error = stat_name(&dir, name, st);
	}
	if (error)
		return error == -ESTALE ? gone_error(request) : error;
	size_by_content(request->mirror, dir.fd, name, st);
	return 0;
}

void handle_lookup(struct request *request)
{
	const struct cgfs_mirror *mirror = request->mirror;
	struct fuse_entry_out entry;
	const char *name;
	struct stat st;
	int control, error = request_name(request, 0, &name);

	if (error) {
		reply_error(request, error);
		return;
	}
	/* Ours even if cgroup2 had a file of that name. */
	control = control_index(mirror, name, strlen(name));
	if (control >= 0) {
		handle_control_lookup(request, (size_t)control);
		return;
	}
	/* ENOENT as an error, not as node 0: a name that is not there is not cached. */
	error = find_name(request, name, &st);
	if (error) {
		reply_error(request, error);
		return;
	}
	fill_entry(mirror, name, &st, &entry);
	reply(request, &entry, sizeof(entry));
}

/* Take on the identity of the caller, who makes or removes a directory in parent. Returns 0 or -errno. */
static int become_caller(struct identity *identity, const struct request *request, int parent)
{
	struct stat st;

	if (fstat(parent, &st) < 0)
		return -errno;
	if (identity_owner_may(&request->caller, st.st_uid, st.st_mode, S_IWUSR | S_IXUSR))
		return identity_take_owner(identity, &request->caller);
	return identity_take(identity, &request->caller, 0);
}

/* As the caller: a directory's files belong to whoever makes it. FUSE has applied the caller's umask: ours must not. */
static int make_as_caller(const struct request *request, int parent, const char *name, mode_t mode)
{
	struct identity identity AS_CALLER = {};
	int error = become_caller(&identity, request, parent);
	mode_t umask_of_worker;

	if (error)
		return error;
	umask_of_worker = umask(0);
	error = mkdirat(parent, name, mode) < 0 ? -errno : 0;
	umask(umask_of_worker);
	return error;
}

static int make_directory(struct request *request, const char *name, mode_t mode, struct stat *st)
{
	CLEANUP_FD int parent = open_directory(request);
	int error = parent < 0 ? parent : make_as_caller(request, parent, name, mode);

	if (!error && fstatat(parent, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		error = -errno;
	return error;
}

void handle_mkdir(struct request *request)
{
	const struct fuse_mkdir_in *in = request->body;
	struct fuse_entry_out entry;
	const char *name;
	struct stat st;
	int error = request_name(request, sizeof(*in), &name);

	if (!error && control_index(request->mirror, name, strlen(name)) >= 0)
		error = -EEXIST;
	if (!error) {
		loop_may_block(request);
		error = make_directory(request, name, in->mode, &st);
	}
	if (error) {
		reply_error(request, error);
		return;
	}
	fill_entry(request->mirror, name, &st, &entry);
	reply(request, &entry, sizeof(entry));
}

static int remove_as_caller(const struct request *request, int parent, const char *name)
{
	struct identity identity AS_CALLER = {};
	int error = become_caller(&identity, request, parent);

	if (error)
		return error;
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/*
 * The directory may be open, or somebody's working directory (directory_removed.c). It is kept before it is removed, so that
 * there is no moment at which it is neither there nor kept.
 */
static int remove_directory(struct request *request, const char *name)
{
	CLEANUP_FD int parent = open_directory(request);
	uint64_t user = descriptor_user(request), id, node = 0;
	int error, fd;

	if (parent < 0)
		return parent;
	fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && kernfs_id_at(fd, "", AT_EMPTY_PATH, &id) == 0) {
		node = node_id(request->mirror, NULL, id);
		removed_keep(request->mirror, user, node, fd);
	} else {
		close_fd(&fd);
	}
	error = remove_as_caller(request, parent, name);
	if (error && node)
		removed_forget(request->mirror, node);
	if (!error && node && request->mirror->stale)
		stale_add(request->mirror, STALE_REMOVED, node, NULL, 0);
	return error;
}

void handle_rmdir(struct request *request)
{
	const char *name;
	int error = request_name(request, 0, &name);

	if (!error && control_index(request->mirror, name, strlen(name)) >= 0)
		error = -ENOTDIR;
	if (!error) {
		loop_may_block(request);
		error = remove_directory(request, name);
	}
	reply_error(request, error);
}

/* What cgroup2 answers to the making and unmaking of files (fs/namei.c, fs/kernfs/dir.c: kernfs_iop_rename). */
void handle_refused_creation(struct request *request)
{
	const struct fuse_mknod_in *mknod = request->body;
	CLEANUP_FD int dir = node_open_path(request->mirror, request->header->nodeid);
	int error = -EPERM;

	switch (request->header->opcode) {
	case FUSE_CREATE:
		error = -EACCES;
		break;
	case FUSE_MKNOD:
		if (S_ISREG(mknod->mode))
			error = -EACCES;
		break;
	case FUSE_RENAME2:
		error = -EINVAL;
		break;
	}
	reply_error(request, dir == -ESTALE ? gone_error(request) : error);
}

/* --- listings ---------------------------------------------------------------------------------------------------- */

/*
 * The offset of an entry is cgroup2's own: the hash of the name that follows, INT_MAX at the end (fs/kernfs/dir.c). The
 * control files come behind, the k-th at INT_MAX + k. Nothing is kept between two requests of one listing.
 */
#define END_OF_NATIVE ((uint64_t)INT_MAX)
/* How long the kernel may keep attributes that came with a listing: for who asks for them next, as `ls -l` does. */
#define LISTED_VALID_MS 100u

struct listing {
	const struct cgfs_mirror *mirror;
	bool plus;
	int dir;
	char *buffer;
	size_t used, size;
};

/* Append an entry. Returns false if it does not fit. */
static bool listing_add(struct listing *listing, const char *name, uint64_t ino, uint8_t type, uint64_t next,
			const struct fuse_entry_out *attributes)
{
	size_t length = strlen(name);
	size_t head = listing->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	size_t size = FUSE_DIRENT_ALIGN(head + length);
	char *at = listing->buffer + listing->used;
	struct fuse_dirent *entry = (struct fuse_dirent *)at;

	if (size > listing->size - listing->used)
		return false;
	memset(at, 0, size);
	if (listing->plus) {
		struct fuse_direntplus *plus = (struct fuse_direntplus *)at;

		/* Node 0: no attributes come with it, the kernel looks it up when asked for them. */
		if (attributes)
			plus->entry_out = *attributes;
		entry = &plus->dirent;
	}
	entry->ino = ino;
	entry->off = next;
	entry->namelen = (uint32_t)length;
	entry->type = type;
	memcpy(entry->name, name, length);
	listing->used += size;
	return true;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool listing_add_native(struct listing *listing, const struct dirent64 *native)
{
	struct fuse_entry_out entry;
	struct stat st;
	bool known = false;

	/* The control file of that name is ours. */
	if (control_index(listing->mirror, native->d_name, strlen(native->d_name)) >= 0)
		return true;
	if (listing->plus && !is_dots(native->d_name))
		known = fstatat(listing->dir, native->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			!sized_by_content(listing->mirror, st.st_mode);
	if (known) {
		fill_entry(listing->mirror, native->d_name, &st, &entry);
		/* Not for long: who lists into memory that does not come keeps the kernel from believing this until he likes,
		 * and what is changed meanwhile it cannot be told of. (Those of control files are not kept at all.) */
		entry.attr_valid = 0;
		entry.attr_valid_nsec = LISTED_VALID_MS * 1000 * 1000;
	}
	return listing_add(listing, native->d_name, native->d_ino, native->d_type, (uint64_t)native->d_off,
			   known ? &entry : NULL);
}

/* The control files from the first-th on, as far as they fit. */
static void listing_add_control_files(struct listing *listing, uint64_t directory, size_t first)
{
	const struct cgfs_mirror *mirror = listing->mirror;

	for (size_t i = first; i < mirror->n_control_names; i++) {
		uint64_t node = control_node(directory, i);
		struct fuse_entry_out entry;
		bool known = listing->plus && known_entry(mirror, listing->dir, node, &entry);

		if (!listing_add(listing, mirror->control_names[i], node, DT_REG, END_OF_NATIVE + i + 1, known ? &entry : NULL))
			break;
	}
}

/*
 * Append the native entries from an offset on. Two names may have one hash, and a listing cannot be resumed between
 * or before them: it is cut where the offset, the hash of the next name, is that name's alone. Returns 1 if the end
 * was reached, 0 if there is more, or -errno.
 */
static int listing_fill(struct listing *listing, uint64_t offset)
{
	char entries[16384] __attribute__((aligned(8)));
	uint64_t previous = offset;	/* the offset at which the entry before the one at hand says it follows */
	size_t cut = 0;			/* the listing may end here */
	size_t candidate = 0;		/* and here, if the next entry's offset differs */
	bool full = false;
	ssize_t size;

	if (lseek(listing->dir, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	while (!full) {
		/* Hashes are less than that: it is what the last entry says. */
		size = previous == END_OF_NATIVE ? 0 : getdents64(listing->dir, entries, sizeof(entries));
		if (size < 0)
			return -errno;
		if (size == 0)
			return 1;
		for (ssize_t at = 0; at < size && !full;) {
			const struct dirent64 *native = (const struct dirent64 *)(entries + at);
			uint64_t next = (uint64_t)native->d_off;

			if (candidate && next != previous)
				cut = candidate;
			full = !listing_add_native(listing, native);
			candidate = next != previous ? listing->used : 0;
			previous = next;
			at += native->d_reclen;
		}
	}
	if (cut)
		listing->used = cut;
	return listing->used ? 0 : -EINVAL;	/* not even one entry fits: as getdents(2) */
}

static int listing_make(struct listing *listing, uint64_t node, uint64_t offset)
{
	CLEANUP_FD int dir = -1;

	/* Each listing ends with a request for what follows the last entry, whether the directory is still there or not. */
	if (offset >= END_OF_NATIVE + listing->mirror->n_control_names)
		return 0;
	dir = node_open(listing->mirror, node, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return dir;
	listing->dir = dir;
	if (offset < END_OF_NATIVE) {
		int ended = listing_fill(listing, offset);

		if (ended <= 0)
			return ended;
		offset = END_OF_NATIVE;
	}
	listing_add_control_files(listing, node, offset - END_OF_NATIVE);
	return 0;
}

static void handle_listing(struct request *request, bool plus)
{
	const struct fuse_read_in *in = request->body;
	struct listing listing = {
		.mirror = request->mirror,
		.plus = plus,
		.buffer = reply_buffer(request),
		.size = in->size < MAX_IO ? in->size : MAX_IO,
	};
	int error = listing_make(&listing, request->header->nodeid, in->offset);

	/* A directory that is gone is natively one that has no entries to give. */
	if (error)
		reply_error(request, error == -ESTALE ? -ENOENT : error);
	else
		reply(request, listing.buffer, listing.used);
}

void handle_readdir(struct request *request)
{
	handle_listing(request, false);
}

void handle_readdirplus(struct request *request)
{
	handle_listing(request, true);
}
