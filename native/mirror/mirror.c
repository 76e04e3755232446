/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of one mount: SOURCE is opened, the mirror mounted, INIT negotiated; then the threads run until the
 * connection ends. Sources: mount(2); fuse_fill_super and process_init_reply in fs/fuse/inode.c.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "files.h"
#include "identity.h"
#include "control_known.h"
#include "watch.h"

#define OLDEST_MINOR 36		/* Linux 5.17, since when fanotify says which file an event is about (watch.c) */
#define MAX_CONTROL_FILES 127

/* --- opening ----------------------------------------------------------------------------------------------------- */

static int copy_attach_types(struct cgfs_mirror *mirror, const struct cgfs_mirror_options *options)
{
	size_t size = options->n_control_names * sizeof(*options->control_attach_types);

	if (!options->control_attach_types || !size)
		return 0;
	mirror->control_attach_types = malloc(size);
	if (!mirror->control_attach_types)
		return -ENOMEM;
	memcpy(mirror->control_attach_types, options->control_attach_types, size);
	return 0;
}

/* A copy of n texts with a NULL behind them, for free_texts(), also on error. Returns 0 or -errno. */
static int copy_texts(const char *const *texts, size_t n, const char ***copy)
{
	*copy = calloc(n + 1, sizeof(**copy));
	if (!*copy)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		(*copy)[i] = strdup(texts[i]);
		if (!(*copy)[i])
			return -ENOMEM;
	}
	return 0;
}

static void free_texts(const char **texts)
{
	for (size_t i = 0; texts && texts[i]; i++)
		free((char *)(uintptr_t)texts[i]);
	free(texts);
}

static int copy_control_names(struct cgfs_mirror *mirror, const struct cgfs_mirror_options *options)
{
	if (options->n_control_names > MAX_CONTROL_FILES)
		return -EINVAL;
	mirror->n_control_names = options->n_control_names;
	return copy_texts(options->control_names, options->n_control_names, &mirror->control_names);
}

static int copy_untouched(struct cgfs_mirror *mirror, const struct cgfs_untouched *untouched)
{
	int error;

	if (!untouched)
		return 0;
	error = copy_texts(untouched->note_names, mirror->n_control_names * untouched->n_notes, &mirror->note_names);
	mirror->untouched = *untouched;
	mirror->untouched.note_names = mirror->note_names;
	mirror->untouched.content = strdup(untouched->content);
	return error || mirror->untouched.content ? error : -ENOMEM;
}

bool is_read_only(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && st.f_flags & ST_RDONLY;
}

/* Whether SOURCE is read-only is asked when something is to be changed (dispatch.c): what it was at the start is not to stay. */
static bool make_writable(int mount)
{
	struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};

	return syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &writable, sizeof(writable)) == 0;
}

/*
 * SOURCE on a mount of our own: a copy, which is nowhere to be seen once the descriptor that made it is closed, and ends with the
 * last one that is open on it. There is none of a mount that is unbindable, or another namespace's, or has locked ones below, or
 * is read-only for good (all mount_namespaces(7)): then where all see it.
 */
static int open_copy(struct cgfs_mirror *mirror)
{
	CLEANUP_FD int copy = (int)syscall(SYS_open_tree, mirror->seen_fd, "",
					   AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (copy < 0 && errno != EINVAL)
		return -errno;
	mirror->has_copy = copy >= 0 && (!is_read_only(copy) || make_writable(copy));
	mirror->source_fd = openat(mirror->has_copy ? copy : mirror->seen_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return mirror->source_fd < 0 ? -errno : 0;
}

static int open_source(struct cgfs_mirror *mirror, const char *source)
{
	struct statfs st;
	int error;

	mirror->seen_fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mirror->seen_fd < 0 || fstatfs(mirror->seen_fd, &st) < 0)
		return -errno;
	if (st.f_type != CGROUP2_SUPER_MAGIC)
		return -EINVAL;
	error = open_copy(mirror);
	return error ? error : kernfs_id_at(mirror->source_fd, "", AT_EMPTY_PATH, &mirror->source_id);
}

static int clone_connection(struct cgfs_mirror *mirror)
{
	uint32_t fuse_fd = (uint32_t)mirror->fuse_fd;

	mirror->notify_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	return mirror->notify_fd < 0 || ioctl(mirror->notify_fd, FUSE_DEV_IOC_CLONE, &fuse_fd) < 0 ? -errno : 0;
}

int mirror_negotiate(struct cgfs_mirror *mirror, bool passthrough)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in body;
		char space[FUSE_MIN_READ_BUFFER];
	} in = {};
	struct {
		struct fuse_out_header header;
		struct mirror_init_out body;
	} out = {};
	struct iovec part = {.iov_base = &out, .iov_len = sizeof(out)};
	uint64_t offered, flags;
	ssize_t size = read(mirror->fuse_fd, &in, sizeof(in));

	if (size < 0)
		return -errno;
	if (size < (ssize_t)(sizeof(in.header) + offsetof(struct fuse_init_in, flags2)) ||
	    in.header.opcode != FUSE_INIT || in.body.major != FUSE_KERNEL_VERSION || in.body.minor < OLDEST_MINOR)
		return -EPROTONOSUPPORT;
	offered = in.body.flags;
	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in.body.flags2 << 32;
	flags = offered & MIRROR_FUSE_FLAGS;
	mirror->passthrough = passthrough && offered & FUSE_PASSTHROUGH;
	if (mirror->passthrough)
		flags |= FUSE_INIT_EXT | FUSE_PASSTHROUGH;
	out.header = (struct fuse_out_header){.len = sizeof(out), .unique = in.header.unique};
	out.body = (struct mirror_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = in.body.minor < MIRROR_FUSE_MINOR ? in.body.minor : MIRROR_FUSE_MINOR,
		.max_readahead = in.body.max_readahead,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
		.max_write = MAX_IO,
		.max_pages = MAX_IO / 4096,
		.time_gran = 1,
		.max_stack_depth = mirror->passthrough,
	};
	return send_message(mirror->fuse_fd, &part, 1);
}

/* Of what is mounted there now. Nobody is asked for it: nobody answers yet. */
static int device_of_mount(struct cgfs_mirror *mirror)
{
	struct statx stx;

	if (statx(AT_FDCWD, mirror->mountpoint, AT_STATX_DONT_SYNC, 0, &stx) < 0)
		return -errno;
	mirror->device = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	return 0;
}

/* Nothing is mounted if it fails, but where somebody mounts over it in this very moment. */
static int mount_mirror(struct cgfs_mirror *mirror, const struct cgfs_mirror_options *options)
{
	char data[160];
	struct stat st;
	int error;

	mirror->mountpoint = realpath(options->mountpoint, NULL);
	if (!mirror->mountpoint || fstat(mirror->source_fd, &st) < 0)
		return -errno;
	mirror->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (mirror->fuse_fd < 0)
		return -errno;
	snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=0,group_id=0,default_permissions%s", mirror->fuse_fd,
		 st.st_mode, options->allow_other ? ",allow_other" : "");
	if (mount(options->fsname, mirror->mountpoint, "fuse.cgfs",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC | options->mount_flags, data) < 0)
		return -errno;
	error = device_of_mount(mirror);
	if (!error)
		error = clone_connection(mirror);
	if (!error)
		error = mirror_negotiate(mirror, options->passthrough);
	if (error)
		umount2(mirror->mountpoint, MNT_DETACH);
	return error;
}

static int create_parts(struct cgfs_mirror *mirror)
{
	int error = identity_init();

	if (!error)
		error = descriptors_create(mirror);
	if (!error)
		error = backings_create(mirror);
	if (!error)
		error = file_table_create(mirror);
	if (!error)
		error = removed_create(mirror);
	if (!error)
		error = gone_create(mirror);
	if (!error)
		error = names_create(mirror);
	if (!error)
		error = kept_create(mirror);
	if (!error)
		error = absent_create(mirror);
	if (!error)
		error = contents_create(mirror);
	if (!error)
		error = known_create(mirror);
	if (!error)
		error = poller_create(mirror);
	return error;
}

/* More than one serve callers on several CPUs at the same time, and go on while one of them waits. */
static unsigned int readers_of_this_machine(void)
{
	long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;

	return half < 2 ? 2 : half > MAX_READERS ? MAX_READERS : (unsigned int)half;
}

int mirror_create(const struct cgfs_mirror_options *options, struct cgfs_mirror **created)
{
	struct cgfs_mirror *mirror = calloc(1, sizeof(*mirror));
	int error;

	if (!mirror)
		return -ENOMEM;
	mirror->handle = dispatch;
	mirror->n_readers = readers_of_this_machine();
	mirror->fuse_fd = mirror->notify_fd = mirror->source_fd = mirror->seen_fd = -1;
	error = copy_control_names(mirror, options);
	if (!error)
		error = copy_attach_types(mirror, options);
	if (!error)
		error = copy_untouched(mirror, options->untouched);
	if (!error)
		error = open_source(mirror, options->source);
	if (!error)
		error = create_parts(mirror);
	if (error)
		cgfs_mirror_close(mirror);
	else
		*created = mirror;
	return error;
}

int cgfs_mirror_open(const struct cgfs_mirror_options *options, struct cgfs_mirror **opened)
{
	struct cgfs_mirror *mirror;
	int error = mirror_create(options, &mirror);

	if (error)
		return error;
	error = mount_mirror(mirror, options);
	if (error)
		cgfs_mirror_close(mirror);
	else
		*opened = mirror;
	return error;
}

int cgfs_mirror_start(struct cgfs_mirror *mirror, const struct cgfs_control_operations *control, void *context)
{
	int error;

	mirror->control = control;
	mirror->control_context = context;
	error = poller_start(mirror);
	if (!error)
		error = replay_start(mirror);
	if (!error)
		error = watch_start(mirror);
	if (!error)
		error = loop_start(mirror);
	return error;
}

void cgfs_mirror_let_go(struct cgfs_mirror *mirror)
{
	replay_end(mirror);
}

/* --- closing ----------------------------------------------------------------------------------------------------- */

static void destroy_parts(struct cgfs_mirror *mirror)
{
	removed_destroy(mirror);
	gone_destroy(mirror);
	names_destroy(mirror);
	kept_destroy(mirror);
	absent_destroy(mirror);
	if (mirror->files)
		file_table_destroy(mirror);
	if (mirror->backings)
		backings_destroy(mirror);
	descriptors_destroy(mirror);
	known_destroy(mirror);
	contents_destroy(mirror);
}

void cgfs_mirror_close(struct cgfs_mirror *mirror)
{
	bool left;

	if (mirror->loop) {
		loop_wait_for_end(mirror);
		/* A thread that somebody keeps waiting for a lock goes on one day: what it uses stays. The process ends anyway. */
		if (!loop_stop(mirror))
			return;
	}
	/* Both tell the replay. */
	if (mirror->poller)
		poller_destroy(mirror);
	left = mirror->watch && !watch_stop(mirror);
	left |= mirror->replay && !replay_stop(mirror);
	/* As above. */
	if (left)
		return;
	destroy_parts(mirror);
	close_fd(&mirror->fuse_fd);
	close_fd(&mirror->notify_fd);
	close_fd(&mirror->source_fd);
	close_fd(&mirror->seen_fd);
	free_texts(mirror->control_names);
	free_texts(mirror->note_names);
	free(mirror->control_attach_types);
	free((char *)(uintptr_t)mirror->untouched.content);
	free(mirror->mountpoint);
	free(mirror);
}

int cgfs_mirror_mount_fd(const struct cgfs_mirror *mirror)
{
	return mirror->seen_fd;
}

uint64_t cgfs_mirror_device(const struct cgfs_mirror *mirror)
{
	return mirror->device;
}

uint64_t cgfs_mirror_source_id(const struct cgfs_mirror *mirror)
{
	return mirror->source_id;
}
