/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lets inotify watchers on the mirror see what others did on cgroup2. FUSE has no message for it, so threads do on
 * the mirror itself what raises the event there, and the requests that come of it are answered without touching cgroup2
 * (replay_answer.c):
 *
 *   IN_MODIFY   truncate(file, 0)
 *   IN_CREATE   mkdir of the directory, which is said not to exist until it is made. Where somebody on the mirror has
 *               seen the new directory before, it is said to exist, and there is no event: the kernel would drop what it
 *               knows of it, with all that is mounted there.
 *   IN_DELETE   rmdir of the directory, which is said to exist until it is removed. Only where cgroup2 has no such
 *               directory any more: since the kernel holds the parent's lock, and an id is never used again, it is
 *               sure that what the kernel then takes for removed is.
 *
 * Who does it waits on our own mount, and for the locks of directories. So that nothing else has to wait for that:
 * - What is done in one directory, or to one file, has a lane (lanes.c). What somebody who holds a lock keeps from being
 *   done is bounded: of more, there are no events.
 * - The threads have a table of descriptors of their own, without the connection to the kernel. When the daemon is
 *   killed it is closed, and with it ends what was read from it; what was not, a killed thread does not wait for.
 * - They work on a copy of the mount that is not in the tree of mounts, so that the mirror can be unmounted while they
 *   work. The copy keeps the connection alive, so it goes when the mirror is mounted nowhere in our namespace: one
 *   thread looks for that, and does nothing else.
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
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "loop.h"
#include "monotonic.h"
#include "watch.h"

#define END_MS 1000

/* --- what is to be replayed: in a lane, where it may wait ------------------------------------------------------------- */

/* The path of a descriptor in this thread's table: /proc/self has those of the other threads. */
static void own_fd_path(int fd, char path[FD_PATH_SIZE])
{
	snprintf(path, FD_PATH_SIZE, "/proc/thread-self/fd/%d", fd);
}

static int path_of(int fd, char path[PATH_MAX])
{
	char link[FD_PATH_SIZE];
	ssize_t length;

	own_fd_path(fd, link);
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
	CLEANUP_FD int fd = node_open_seen(mirror, node, O_PATH);
	size_t length;
	int error = fd < 0 ? fd : path_of(fd, path);

	if (!error)
		error = path_of(mirror->seen_fd, source);
	if (error)
		return error;
	length = strcmp(source, "/") == 0 ? 0 : strlen(source);
	if (strncmp(path, source, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return -ENOENT;
	return asprintf(below, ".%s%s%s", path + length, name ? "/" : "", name ? name : "") < 0 ? -ENOMEM : 0;
}

static int modify(int copy, const char *below)
{
	char link[FD_PATH_SIZE], path[FD_PATH_SIZE + PATH_MAX];

	own_fd_path(copy, link);
	snprintf(path, sizeof(path), "%s/%s", link, below);
	return truncate(path, 0);
}

/* Returns as the system call does, for nobody: if it fails there is nobody to be told of the event. */
static int replay_errand(const struct cgfs_mirror *mirror, const struct errand *errand)
{
	const char *name = *errand->text ? errand->text : NULL;
	int copy = mirror->replay->copy, result = -1;
	char *path;

	if (node_is_control(errand->node))
		name = mirror->control_names[node_control_index(errand->node)];
	if (path_below_source(mirror, errand->node, name, &path))
		return -1;
	switch ((enum replay_what)errand->what) {
	case REPLAY_MODIFIED:
		result = modify(copy, path);
		break;
	case REPLAY_CREATED:
		result = mkdirat(copy, path, 0755);
		break;
	case REPLAY_DELETED:
		result = unlinkat(copy, path, AT_REMOVEDIR);
		break;
	}
	free(path);
	return result;
}

static void perform(struct cgfs_mirror *mirror, const struct errand *errand)
{
	struct replay *replay = mirror->replay;
	struct act self = {.tid = (uint32_t)gettid(), .errand = errand};

	pthread_mutex_lock(&replay->lock);
	LIST_INSERT_HEAD(&replay->acts, &self, next);
	replay->n_acts++;
	pthread_mutex_unlock(&replay->lock);
	replay_errand(mirror, errand);
	pthread_mutex_lock(&replay->lock);
	LIST_REMOVE(&self, next);
	replay->n_acts--;
	pthread_mutex_unlock(&replay->lock);
}

/* --- the thread that looks for the end -------------------------------------------------------------------------------- */

/*
 * Be without all descriptors but the standard ones, wake_fd, SOURCE and a copy of the mirror's mount. Returns the latter or -errno.
 * No request is made: there may be nobody yet to answer it.
 */
static int enter_copy(const struct cgfs_mirror *mirror)
{
	struct mount_attr private = {.propagation = MS_PRIVATE};
	const int fds[2] = {mirror->seen_fd, mirror->replay->wake_fd};
	int copy, error;

	if (unshare(CLONE_FS) < 0 || keep_descriptors(fds))
		return -errno;
	copy = (int)syscall(SYS_open_tree, AT_FDCWD, mirror->mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (copy < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0) {
		error = -errno;
		close(copy);
		return error;
	}
	return copy;
}

/* Whether the mirror is mounted anywhere in our namespace. */
static bool is_mounted(const struct cgfs_mirror *mirror, FILE *mountinfo)
{
	unsigned int major_number, minor_number;
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	rewind(mountinfo);
	while (!found && getline(&line, &size, mountinfo) > 0)
		found = sscanf(line, "%*u %*u %u:%u", &major_number, &minor_number) == 2 &&
			makedev(major_number, minor_number) == mirror->device;
	free(line);
	return found;
}

static void set_lanes(struct replay *replay, struct lanes *lanes)
{
	pthread_mutex_lock(&replay->lock);
	replay->lanes = lanes;
	pthread_mutex_unlock(&replay->lock);
}

static bool has_ended(struct replay *replay)
{
	bool ended;

	pthread_mutex_lock(&replay->lock);
	ended = replay->ended;
	pthread_mutex_unlock(&replay->lock);
	return ended;
}

static void wait_for_the_end(const struct cgfs_mirror *mirror, FILE *mountinfo)
{
	struct replay *replay = mirror->replay;
	struct pollfd ready[2] = {
		{.fd = fileno(mountinfo), .events = POLLPRI},	/* the mounts have changed */
		{.fd = replay->wake_fd, .events = POLLIN},
	};

	while (is_mounted(mirror, mountinfo) && !has_ended(replay))
		poll(ready, 2, -1);
}

static void warn_of_no_events(int error)
{
	fprintf(stderr, "cgfs: WARNING: inotify shows on the mirror nothing of what others do on cgroup2: %s\n", strerror(-error));
}

static void *replay_main(void *argument)
{
	struct cgfs_mirror *mirror = argument;
	struct replay *replay = mirror->replay;
	CLEANUP_FD int copy = enter_copy(mirror);
	FILE *mountinfo = copy < 0 ? NULL : fopen("/proc/thread-self/mountinfo", "re");
	int error = copy < 0 ? copy : mountinfo ? 0 : -errno;
	const int fds[2] = {mirror->seen_fd, copy};
	struct lanes *lanes = NULL;

	replay->copy = copy;
	if (!error)
		error = lanes_start(mirror, perform, fds, &lanes);
	if (error) {
		warn_of_no_events(error);
	} else {
		struct timespec deadline;

		set_lanes(replay, lanes);
		wait_for_the_end(mirror, mountinfo);
		set_lanes(replay, NULL);
		deadline = after_ms(END_MS);
		if (lanes_end(lanes, &deadline))
			lanes_free(lanes);
		else
			replay->left = true;
	}
	if (mountinfo)
		fclose(mountinfo);
	return NULL;
}

void replay_add(struct cgfs_mirror *mirror, enum replay_what what, uint64_t node, const char *name, uint64_t child)
{
	struct replay *replay = mirror->replay;

	if (!replay)
		return;
	pthread_mutex_lock(&replay->lock);
	if (replay->lanes)
		lanes_add(replay->lanes, (int)what, node, name ? name : "", child, false);
	pthread_mutex_unlock(&replay->lock);
}

/* --- start and stop --------------------------------------------------------------------------------------------------- */

int replay_start(struct cgfs_mirror *mirror)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int error;

	if (!replay)
		return -ENOMEM;
	mirror->replay = replay;
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

bool replay_stop(struct cgfs_mirror *mirror)
{
	struct replay *replay = mirror->replay;

	replay_end(mirror);
	if (replay->left)
		return false;
	close_fd(&replay->wake_fd);
	pthread_mutex_destroy(&replay->lock);
	free(replay);
	mirror->replay = NULL;
	return true;
}
