/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files: what the kernel reads and writes in our stead (passthrough).
 *
 * The kernel allows one backing id per inode at a time: a second one answers EIO to the open. It lets go of its own
 * count before it sends RELEASE, so an id that is counted here from OPEN to RELEASE is there whenever the kernel asks
 * for it, and no second one is made while it does.
 *
 * Ids that nobody uses are kept for a while, since who reads a file once often reads it again. So are their descriptors, until
 * something is removed somewhere: until then the file is there, and is not even looked for (watch_removals). That is believed
 * for a second at most, since there are ways to take files away of which there is no event: a write by io_submit(2), and the
 * mount of a controller on cgroup v1. Who opens such a file meanwhile gets EIO: the kernel cannot open it.
 *
 * Owner and mode are kept with it, and are as they were while no attributes were changed anywhere (watch_counts()): by them it is
 * known who, as the owner, may open the file for writing.
 *
 * An id keeps the kernel's inode of a removed file, too, but opens it for nobody: from the removal on it is looked for.
 *
 * Source: kernel fs/fuse/backing.c, fs/fuse/iomode.c, fs/fuse/passthrough.c.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/queue.h>

#include "files.h"
#include "hash.h"
#include "identity.h"
#include "monotonic.h"
#include "watch.h"

#define BUCKET_BITS 12
#define MAX_UNUSED 2048
#define BELIEVED_MS 1000

struct backing {
	LIST_ENTRY(backing) in_bucket;
	TAILQ_ENTRY(backing) in_unused;
	uint64_t node;
	uint64_t user;			/* in use: for whom it is kept */
	struct look look;		/* the descriptor is for the attributes, should the file be removed while it is open */
	int id;
	unsigned int count;
};

struct backings {
	pthread_mutex_t lock;		/* guards all of this; taken before that of descriptors.c only */
	LIST_HEAD(backing_bucket, backing) buckets[1 << BUCKET_BITS];
	TAILQ_HEAD(unused_backings, backing) unused;	/* the newest first */
	unsigned int n_unused, max_unused;
};

static struct backing_bucket *bucket_of(struct backings *backings, uint64_t node)
{
	return &backings->buckets[hash_id(node, BUCKET_BITS)];
}

/* The backing of that node; NULL: there is none. */
static struct backing *find(struct backings *backings, uint64_t node)
{
	struct backing *backing;

	LIST_FOREACH(backing, bucket_of(backings, node), in_bucket) {
		if (backing->node == node)
			return backing;
	}
	return NULL;
}

int backings_create(struct cgfs_mirror *mirror)
{
	mirror->backings = calloc(1, sizeof(*mirror->backings));
	if (!mirror->backings)
		return -ENOMEM;
	pthread_mutex_init(&mirror->backings->lock, NULL);
	TAILQ_INIT(&mirror->backings->unused);
	mirror->backings->max_unused = descriptors_spare(mirror, MAX_UNUSED);
	return 0;
}

void backings_destroy(struct cgfs_mirror *mirror)
{
	struct backings *backings = mirror->backings;

	if (!backings)
		return;
	for (unsigned int i = 0; i < 1u << BUCKET_BITS; i++) {
		struct backing *backing;

		while ((backing = LIST_FIRST(&backings->buckets[i]))) {
			LIST_REMOVE(backing, in_bucket);
			close_fd(&backing->look.path_fd);
			free(backing);	/* the id ends with the connection */
		}
	}
	pthread_mutex_destroy(&backings->lock);
	free(backings);
	mirror->backings = NULL;
}

/* --- the unused; all with the lock held ------------------------------------------------------------------------------ */

static void unused_add(struct backings *backings, struct backing *backing)
{
	TAILQ_INSERT_HEAD(&backings->unused, backing, in_unused);
	backings->n_unused++;
}

static void unused_take(struct backings *backings, struct backing *backing)
{
	TAILQ_REMOVE(&backings->unused, backing, in_unused);
	backings->n_unused--;
}

static void forget_oldest(struct cgfs_mirror *mirror)
{
	struct backings *backings = mirror->backings;
	struct backing *oldest = TAILQ_LAST(&backings->unused, unused_backings);
	uint32_t id = oldest->id;

	unused_take(backings, oldest);
	LIST_REMOVE(oldest, in_bucket);
	ioctl(mirror->fuse_fd, FUSE_DEV_IOC_BACKING_CLOSE, &id);
	close_fd(&oldest->look.path_fd);
	free(oldest);
}

/* --- looks ------------------------------------------------------------------------------------------------------------- */

int look_for_file(const struct request *request, struct look *look)
{
	const struct cgfs_mirror *mirror = request->mirror;
	struct stat st;
	int fd;

	look->counts = watch_counts(mirror);
	look->until = after_ms(BELIEVED_MS);
	fd = node_open_path(mirror, request->header->nodeid);
	if (fd < 0)
		return fd;
	look->path_fd = fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	look->owner = st.st_uid;
	look->mode = st.st_mode;
	return 0;
}

void look_end(struct look *look)
{
	close_fd(&look->path_fd);
}

/* --- what else file.c calls ------------------------------------------------------------------------------------------- */

/* A backing of path_fd, not in use yet. With the lock held. Returns 0 or -errno. */
static int backing_create(struct cgfs_mirror *mirror, uint64_t node, int path_fd, struct backing **created)
{
	struct fuse_backing_map map = { .fd = path_fd };
	struct backing *backing = malloc(sizeof(*backing));
	int id, error;

	if (!backing)
		return -ENOMEM;
	id = ioctl(mirror->fuse_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id < 0) {
		error = -errno;
		free(backing);
		return error;
	}
	*backing = (struct backing){ .node = node, .look = NO_LOOK, .id = id };
	LIST_INSERT_HEAD(bucket_of(mirror->backings, node), backing, in_bucket);
	unused_add(mirror->backings, backing);
	*created = backing;
	return 0;
}

/* One open more, for that user, who is charged for the descriptor; if he has had his share it is not kept. Lock held. */
static int use(struct cgfs_mirror *mirror, struct backing *backing, uint64_t user)
{
	if (!backing->count++) {
		unused_take(mirror->backings, backing);
		backing->user = user;
		if (backing->look.path_fd >= 0 && !descriptors_take(mirror, user, 1)) {
			close(backing->look.path_fd);
			backing->look.path_fd = -1;
		}
	}
	return backing->id;
}

static bool is_believed(const struct cgfs_mirror *mirror, const struct backing *backing)
{
	return backing->look.counts.removals == watch_removals(mirror) && !is_past(&backing->look.until);
}

static bool is_owned(const struct request *request, const struct backing *backing, mode_t needed)
{
	const struct look *look = &backing->look;

	return look->counts.attributes == watch_counts(request->mirror).attributes &&
	       identity_owner_may(&request->caller, look->owner, look->mode, needed);
}

int backing_find(const struct request *request, bool is_there, mode_t needed)
{
	struct cgfs_mirror *mirror = request->mirror;
	struct backings *backings = mirror->backings;
	struct backing *backing;
	uint64_t user;
	int id = 0;

	if (!is_there && !watch_has_counted(mirror))
		return 0;
	user = descriptor_user(request);
	pthread_mutex_lock(&backings->lock);
	backing = find(backings, request->header->nodeid);
	if (backing && backing->look.path_fd >= 0 && (is_there || is_believed(mirror, backing)) &&
	    (!needed || is_owned(request, backing, needed)))
		id = use(mirror, backing, user);
	pthread_mutex_unlock(&backings->lock);
	return id;
}

/* The look, its descriptor included, in place of the former one; if it is one more, that user is charged for it. Lock held. */
static void keep_look(struct cgfs_mirror *mirror, struct backing *backing, uint64_t user, struct look *look)
{
	struct look former = backing->look;

	backing->look = *look;
	if (former.path_fd < 0) {
		if (!descriptors_take(mirror, user, 1)) {
			backing->look.path_fd = -1;
			return;
		}
		backing->user = user;
	}
	look->path_fd = former.path_fd;
}

int backing_of(const struct request *request, struct look *look)
{
	struct cgfs_mirror *mirror = request->mirror;
	struct backings *backings = mirror->backings;
	uint64_t node = request->header->nodeid, user = descriptor_user(request);
	struct backing *backing;
	int result = 0;

	pthread_mutex_lock(&backings->lock);
	backing = find(backings, node);
	if (!backing)
		result = backing_create(mirror, node, look->path_fd, &backing);
	if (!result) {
		result = use(mirror, backing, user);
		keep_look(mirror, backing, user, look);
	}
	pthread_mutex_unlock(&backings->lock);
	return result;
}

void backing_put(struct cgfs_mirror *mirror, uint64_t node)
{
	struct backings *backings = mirror->backings;
	struct backing *backing;
	int removed_fd = -1;

	pthread_mutex_lock(&backings->lock);
	backing = find(backings, node);
	if (backing && backing->count && !--backing->count) {
		if (backing->look.path_fd >= 0)
			descriptors_give(mirror, backing->user, 1);
		if (backing->look.counts.removals != watch_removals(mirror)) {
			removed_fd = backing->look.path_fd;
			backing->look.path_fd = -1;
		}
		unused_add(backings, backing);
		if (backings->n_unused > backings->max_unused)
			forget_oldest(mirror);
	}
	pthread_mutex_unlock(&backings->lock);
	close_fd(&removed_fd);
}

void backings_let_go(struct cgfs_mirror *mirror)
{
	struct backings *backings = mirror->backings;
	int path_fds[MAX_UNUSED];
	struct backing *unused;
	size_t n = 0;

	pthread_mutex_lock(&backings->lock);
	TAILQ_FOREACH(unused, &backings->unused, in_unused) {
		if (unused->look.path_fd >= 0)
			path_fds[n++] = unused->look.path_fd;
		unused->look.path_fd = -1;
	}
	pthread_mutex_unlock(&backings->lock);
	while (n)
		close(path_fds[--n]);
}

int backing_open_path(struct cgfs_mirror *mirror, uint64_t node)
{
	struct backings *backings = mirror->backings;
	const struct backing *backing;
	int fd = -ESTALE;

	pthread_mutex_lock(&backings->lock);
	backing = find(backings, node);
	/* That of an unused one may be of a file that was removed while nobody had it open. */
	if (backing && backing->count && backing->look.path_fd >= 0)
		fd = dup_fd(backing->look.path_fd);
	pthread_mutex_unlock(&backings->lock);
	return fd;
}
