/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lets inotify watchers on the mirror see what others did on cgroup2. FUSE has no message for it, so a thread does on
 * the mirror itself what raises the event there, and the requests that come of it are answered without touching cgroup2
 * (replay_answer.c):
 *
 *   IN_MODIFY   truncate(file, 0)
 *   IN_CREATE   mkdir of the directory, which is said not to exist until it is made. Where somebody on the mirror has
 *               seen the new directory before, it is left alone, and there is no event: the kernel would drop what it
 *               knows of it, with all that is mounted there.
 *   IN_DELETE   rmdir of the directory, which is said to exist until it is removed. Only where cgroup2 has no such
 *               directory any more: since the kernel holds the parent's lock, and an id is never used again, it is
 *               sure that what the kernel then takes for removed is.
 *
 * The thread waits on our own mount. So that nothing else has to wait for it:
 * - It has a table of descriptors of its own, without the connection to the kernel. When the daemon is killed the
 *   connection is closed, and with it ends whatever this thread is waiting for.
 * - It works on a copy of the mount that is not in the tree of mounts, so that the mirror can be unmounted while it
 *   works. The copy keeps the connection alive, so it goes when the mirror is mounted nowhere in our namespace.
 *
 * On a mirror mounted read-only nothing can be replayed.
 *
 * Sources: open_tree(2); vfs_mkdir, vfs_rmdir in fs/namei.c; fuse_create_new_entry in fs/fuse/dir.c;
 * request_wait_answer in fs/fuse/dev.c; mounts_poll in fs/proc_namespace.c.
 */
#include "replay.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "loop.h"

static void act_free(struct act *act)
{
	free(act->path);
	free(act);
}

/* --- what is to be replayed --------------------------------------------------------------------------------------- */

static int path_of(int fd, char path[PATH_MAX])
{
	char link[FD_PATH_SIZE];
	ssize_t length;

	fd_path(fd, link);
	length = readlink(link, path, PATH_MAX);
	if (length < 0)
		return -errno;
	if (length == PATH_MAX)
		return -ENAMETOOLONG;
	path[length] = '\0';
	return 0;
}

/* The path below SOURCE of a node, of a control file's directory, or of a name in that directory. Returns 0 or -errno. */
static int path_below_source(const struct cgfs_mirror *mirror, uint64_t node, const char *name, char **below)
{
	char source[PATH_MAX], path[PATH_MAX];
	CLEANUP_FD int fd = node_open_path(mirror, node);
	size_t length;
	int error = fd < 0 ? fd : path_of(fd, path);

	if (!error)
		error = path_of(mirror->source_fd, source);
	if (error)
		return error;
	length = strcmp(source, "/") == 0 ? 0 : strlen(source);
	if (strncmp(path, source, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return -ENOENT;
	return asprintf(below, ".%s%s%s", path + length, name ? "/" : "", name ? name : "") < 0 ? -ENOMEM : 0;
}

static bool is_queued(const struct replay *replay, const struct act *act)
{
	for (const struct act *other = replay->first; other; other = other->next) {
		if (other->what == act->what && strcmp(other->path, act->path) == 0)
			return true;
	}
	return false;
}

void replay_add(struct cgfs_mirror *mirror, enum replay_what what, uint64_t node, const char *name, uint64_t child)
{
	struct replay *replay = mirror->replay;
	struct act *act;

	if (!replay || !atomic_load(&replay->tid))
		return;
	act = calloc(1, sizeof(*act));
	if (!act)
		return;
	*act = (struct act){.what = what, .node = node, .child = child};
	if (node_is_control(node))
		name = mirror->control_names[node_control_index(node)];
	if (path_below_source(mirror, node, name, &act->path)) {
		free(act);
		return;
	}
	act->name = name ? act->path + strlen(act->path) - strlen(name) : NULL;
	pthread_mutex_lock(&replay->lock);
	if (replay->ended || (what == REPLAY_MODIFIED && is_queued(replay, act))) {
		act_free(act);
	} else {
		*replay->last = act;
		replay->last = &act->next;
		eventfd_write(replay->wake_fd, 1);
	}
	pthread_mutex_unlock(&replay->lock);
}

static struct act *take(struct replay *replay)
{
	struct act *act;

	pthread_mutex_lock(&replay->lock);
	act = replay->ended ? NULL : replay->first;
	if (act) {
		replay->first = act->next;
		if (!replay->first)
			replay->last = &replay->first;
	}
	pthread_mutex_unlock(&replay->lock);
	return act;
}

static bool has_ended(struct replay *replay)
{
	bool ended;

	pthread_mutex_lock(&replay->lock);
	ended = replay->ended;
	pthread_mutex_unlock(&replay->lock);
	return ended;
}

/* --- the thread -------------------------------------------------------------------------------------------------------------- */

/*
 * Be without all descriptors but the standard ones, wake_fd and a copy of the mount. Returns the latter or -errno. No
 * request is made: there may be nobody yet to answer it.
 */
static int enter_copy(const struct cgfs_mirror *mirror)
{
	struct mount_attr private = {.propagation = MS_PRIVATE};
	unsigned int wake_fd = (unsigned int)mirror->replay->wake_fd;
	int copy;

	if (unshare(CLONE_FILES | CLONE_FS) < 0)
		return -errno;
	close_range(3, wake_fd - 1, 0);
	close_range(wake_fd + 1, ~0u, 0);
	copy = (int)syscall(SYS_open_tree, AT_FDCWD, mirror->mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (copy < 0 || syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
		return -errno;
	return copy;
}

/* Whether the filesystem of the copy is mounted anywhere in our namespace. */
static bool is_mounted(int copy, FILE *mountinfo)
{
	unsigned int major_number, minor_number;
	struct statx stx;
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (statx(copy, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) < 0)
		return false;
	rewind(mountinfo);
	while (!found && getline(&line, &size, mountinfo) > 0)
		found = sscanf(line, "%*u %*u %u:%u", &major_number, &minor_number) == 2 &&
			major_number == stx.stx_dev_major && minor_number == stx.stx_dev_minor;
	free(line);
	return found;
}

static int modify(int copy, const char *below)
{
	char path[FD_PATH_SIZE + 16 + PATH_MAX];

	/* /proc/self has the descriptors of the other threads. */
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d/%s", copy, below);
	return truncate(path, 0);
}

/* Whether the kernel knows the name in that directory. So that it need not ask for the directory's own attributes when
 * it looks, which would end the look, they are asked for before. */
static bool is_cached(int parent, const char *name)
{
	struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_CACHED};
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (fstat(parent, &st) == 0)
		fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof(how));
	return fd >= 0;
}

static int create(int copy, const struct act *act)
{
	char *path = strndup(act->path, (size_t)(act->name - act->path));
	CLEANUP_FD int parent = path ? openat(copy, path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	free(path);
	if (parent < 0 || is_cached(parent, act->name))
		return -1;
	return mkdirat(parent, act->name, 0755);
}

static void set_current(struct replay *replay, struct act *act)
{
	pthread_mutex_lock(&replay->lock);
	replay->current = act;
	pthread_mutex_unlock(&replay->lock);
}

/* Failure is of no interest: there is nobody to be told of the event then. */
static void perform(struct replay *replay, int copy, struct act *act)
{
	int ignored = 0;

	set_current(replay, act);
	switch (act->what) {
	case REPLAY_MODIFIED:
		ignored = modify(copy, act->path);
		break;
	case REPLAY_CREATED:
		ignored = create(copy, act);
		break;
	case REPLAY_DELETED:
		ignored = unlinkat(copy, act->path, AT_REMOVEDIR);
		break;
	}
	(void)ignored;
	set_current(replay, NULL);
	act_free(act);
}

static void replay_all(struct replay *replay, int copy, FILE *mountinfo)
{
	struct pollfd ready[2] = {
		{.fd = fileno(mountinfo), .events = POLLPRI},	/* the mounts have changed */
		{.fd = replay->wake_fd, .events = POLLIN},
	};
	bool mounted = is_mounted(copy, mountinfo);
	struct act *act;
	eventfd_t count;

	while (mounted && !has_ended(replay)) {
		act = take(replay);
		poll(ready, 2, act ? 0 : -1);
		if (ready[1].revents)
			eventfd_read(replay->wake_fd, &count);
		if (ready[0].revents)
			mounted = is_mounted(copy, mountinfo);
		if (act)
			perform(replay, copy, act);
	}
}

static void *replay_main(void *argument)
{
	struct cgfs_mirror *mirror = argument;
	struct replay *replay = mirror->replay;
	CLEANUP_FD int copy = enter_copy(mirror);
	FILE *mountinfo = copy < 0 ? NULL : fopen("/proc/thread-self/mountinfo", "re");

	if (mountinfo) {
		atomic_store(&replay->tid, (unsigned int)gettid());
		replay_all(replay, copy, mountinfo);
		atomic_store(&replay->tid, 0);
		fclose(mountinfo);
	}
	return NULL;
}

/* --- start and stop ----------------------------------------------------------------------------------------------------------- */

int replay_start(struct cgfs_mirror *mirror)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int error;

	if (!replay)
		return -ENOMEM;
	mirror->replay = replay;
	replay->last = &replay->first;
	pthread_mutex_init(&replay->lock, NULL);
	replay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = replay->wake_fd < 0 ? -errno : start_thread(&replay->thread, replay_main, mirror);
	replay->started = error == 0;
	return error;
}

void replay_end(struct cgfs_mirror *mirror)
{
	struct replay *replay = mirror->replay;
	bool started;

	if (!replay)
		return;
	pthread_mutex_lock(&replay->lock);
	replay->ended = true;
	started = replay->started;
	replay->started = false;
	pthread_mutex_unlock(&replay->lock);
	if (!started)
		return;
	eventfd_write(replay->wake_fd, 1);
	pthread_join(replay->thread, NULL);
}

void replay_stop(struct cgfs_mirror *mirror)
{
	struct replay *replay = mirror->replay;

	replay_end(mirror);
	while (replay->first) {
		struct act *act = replay->first;

		replay->first = act->next;
		act_free(act);
	}
	close_fd(&replay->wake_fd);
	pthread_mutex_destroy(&replay->lock);
	free(replay);
	mirror->replay = NULL;
}
