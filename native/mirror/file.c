/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open files: which of them the kernel reads and writes by itself, and what becomes of the reads and writes of the
 * others.
 *
 * The kernel's own reads and writes (passthrough) run in the caller's task, with its namespaces, but with the
 * credentials that registered the backing file: the daemon's. So what cgroup2 judges by the credentials of whoever
 * opened the file is written here, on a descriptor opened as the caller: migrations (cgroup.procs, cgroup.threads) and
 * pressure triggers. No other handler asks for credentials, neither the file's nor the task's (by the cap_capable
 * tracepoint, and the source of Linux 6.18). What makes and removes files (cgroup.subtree_control and others) is written
 * here because the mirror has to know of it: who has written is to see what came of it.
 *
 * An open for reading only needs no credentials of the caller's: the kernel has checked the permissions before it asks
 * (default_permissions), and no handler judges a read.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "identity.h"
#include "watch.h"

static bool holds_pids(enum file_kind kind)
{
	return kind == KIND_PROCS || kind == KIND_THREADS;
}

static bool judged_by_opener(enum file_kind kind)
{
	return holds_pids(kind) || kind == KIND_PRESSURE;
}

/*
 * The open that the caller asks for, of a descriptor that is kept: with all that cgroup2 may ever judge it by. That is his
 * cgroup namespace for every file (nsdelegate: cgroup_file_write in kernel/cgroup/cgroup.c). Who is what the daemon is opens
 * by handle: only he may, and it is faster. A switch is written where everybody sees it, since that is to be an event (watch.c).
 */
static int open_as_caller(const struct request *request, uint32_t flags)
{
	const struct cgfs_mirror *mirror = request->mirror;
	uint64_t node = request->header->nodeid;
	int (*open_node)(const struct cgfs_mirror *, uint64_t, int) = node_kind(node) == KIND_SWITCH ? node_open_seen : node_open;
	struct identity AS_CALLER identity = {};
	CLEANUP_FD int path_fd = -1;
	int error;

	flags &= O_ACCMODE | O_TRUNC;
	if (identity_is_own(&request->caller))
		return open_node(mirror, node, (int)flags);
	path_fd = open_node(mirror, node, O_PATH);
	if (path_fd < 0)
		return path_fd;
	error = identity_take(&identity, &request->caller, IDENTITY_CGROUP_NS);
	return error ? error : reopen(path_fd, flags);
}

/*
 * The open that the caller asks for, where the kernel then writes by itself. The owner's groups and capabilities do not
 * matter, and are not asked for, which would take longer than all else (to set-id bits they may matter; on these files
 * such bits mean nothing). Nor is there anything to be done for him that the kernel does not do, but for O_TRUNC.
 * Returns the id of the backing if it is known already, 0, or -errno.
 */
static int open_once(const struct request *request, uint32_t flags, struct look *look)
{
	const struct cgfs_caller *caller = &request->caller;
	mode_t needed = S_IWUSR | ((flags & O_ACCMODE) == O_WRONLY ? 0 : S_IRUSR);
	bool truncates = flags & O_TRUNC;
	struct identity AS_CALLER identity = {};
	int error, fd, id = truncates ? 0 : backing_find(request, false, needed);
	bool owner;

	if (id)
		return id;
	error = look_for_file(request, look);
	if (error)
		return error;
	owner = identity_owner_may(caller, look->owner, look->mode, needed);
	if (owner && !truncates)
		return 0;
	error = owner ? identity_take_owner(&identity, caller) : identity_take(&identity, caller, 0);
	if (error)
		return error;
	fd = reopen(look->path_fd, flags & (O_ACCMODE | O_TRUNC));
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* The backing of the file, which may have been looked for already. Returns its id or -errno. */
static int get_backing(const struct request *request, struct look *look, bool is_there)
{
	int error, id;

	if (look->path_fd >= 0)
		return backing_of(request, look);
	id = backing_find(request, is_there, 0);
	if (id)
		return id;
	error = look_for_file(request, look);
	return error ? error : backing_of(request, look);
}

/* Keep fd (taken over, also on error) as the file that the request opens, and the backing that it holds. */
static int keep_file(const struct request *request, int fd, uint64_t *file_handle)
{
	bool backed = request->mirror->passthrough;
	int error = file_add(request, fd, backed, file_handle);

	if (error && backed)
		backing_put(request->mirror, request->header->nodeid);
	return error;
}

/* Open the file and say in out how its reads and writes are to go. Returns 0 or -errno. */
static int open_file(const struct request *request, uint32_t flags, struct mirror_open_out *out)
{
	struct cgfs_mirror *mirror = request->mirror;
	uint64_t node = request->header->nodeid;
	bool writes = !open_reads_only(flags);
	enum file_kind kind = node_kind(node);
	bool ours = !mirror->passthrough || (writes && (judged_by_opener(kind) || kind == KIND_SWITCH));
	struct look CLEANUP_LOOK look = NO_LOOK;
	CLEANUP_FD int fd = -1;
	int kept, id = 0;

	if (ours)
		fd = writes ? open_as_caller(request, flags) : node_open(mirror, node, O_RDONLY);
	else if (writes)
		id = open_once(request, flags, &look);
	if (fd < 0 && ours)
		return fd;
	if (mirror->passthrough && !id)
		id = get_backing(request, &look, ours);
	if (id < 0)
		return id;
	out->open_flags = FOPEN_NOFLUSH | (mirror->passthrough ? FOPEN_PASSTHROUGH : 0);
	out->backing_id = id;
	if (!ours) {
		out->fh = poller_handle(mirror);
		return 0;
	}
	out->open_flags |= FOPEN_DIRECT_IO;
	kept = fd;
	fd = -1;
	return keep_file(request, kept, &out->fh);
}

void handle_open(struct request *request)
{
	const struct fuse_open_in *in = request->body;
	struct mirror_open_out out = {};
	int error;

	/* cgroup2 has no direct I/O; FUSE would offer it. */
	error = in->flags & O_DIRECT ? -EINVAL : open_file(request, in->flags, &out);
	if (error == -ESTALE)
		error = gone_error(request);
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

/* The whole file at once, so that all of a reader's later reads fit together. Returns 0 or -errno. */
static int read_whole(int fd, char **text, size_t *size)
{
	size_t capacity = 1 << 16;
	ssize_t n = 0;

	*size = 0;
	*text = malloc(capacity);
	while (*text && (n = pread(fd, *text + *size, capacity - *size, *size)) > 0) {
		char *more;

		*size += n;
		if (*size < capacity)
			continue;
		capacity *= 2;
		more = realloc(*text, capacity);
		if (!more)
			free(*text);
		*text = more;
	}
	if (!*text)
		return -ENOMEM;
	if (n < 0) {
		n = -errno;
		free(*text);
	}
	return n;
}

/* Read the pids anew, for that user, as those of pidns_fd (-1: none can be seen in that namespace). Called with the lock. */
static int renew_snapshot(struct open_file *file, uint64_t user, int pidns_fd)
{
	char *text, *translated;
	size_t size, translated_size;
	int error = read_whole(file->fd, &text, &size);

	if (error)
		return error;
	error = pids_to_caller(text, size, pidns_fd, &translated, &translated_size);
	free(text);
	if (error)
		return error;
	free(file->snapshot);
	file->snapshot = NULL;
	if (!file_charge_reader(file, user, translated_size)) {
		free(translated);
		return -ENFILE;
	}
	file->snapshot = translated;
	file->snapshot_size = translated_size;
	return 0;
}

/* A read by somebody whose PID namespace is not ours. */
static void read_translated(const struct request *request, struct open_file *file, const struct fuse_read_in *in,
			    int pidns_fd)
{
	uint64_t user = descriptor_user(request);
	int error = 0;

	pthread_mutex_lock(&file->lock);
	if (!in->offset || !file->snapshot)
		error = renew_snapshot(file, user, pidns_fd);
	if (error)
		reply_error(request, error);
	else
		reply_part(request, in, file->snapshot, file->snapshot_size);
	pthread_mutex_unlock(&file->lock);
}

static void read_plain(const struct request *request, const struct open_file *file, const struct fuse_read_in *in)
{
	void *buffer = reply_buffer(request);
	ssize_t size = pread(file->fd, buffer, in->size < MAX_IO ? in->size : MAX_IO, in->offset);

	if (size < 0)
		reply_error(request, -errno);
	else
		reply(request, buffer, size);
}

void handle_read(struct request *request)
{
	const struct fuse_read_in *in = request->body;
	struct open_file *file = file_get(request->mirror, request->header->nodeid, in->fh);
	CLEANUP_FD int pidns_fd = -1;
	int error = 0;

	if (!file) {
		reply_error(request, -EBADF);
		return;
	}
	if (holds_pids(node_kind(file->node)))
		error = pids_foreign_namespace(request->caller.tid, &pidns_fd);
	if (pidns_fd >= 0 || error == -ESRCH)
		read_translated(request, file, in, pidns_fd);
	else if (error)
		reply_error(request, error);
	else
		read_plain(request, file, in);
	file_put(file);
}

/*
 * Write as the kernel would, had the caller's own task written: the file's handlers judge the opener by the descriptor,
 * and the writer by its effective capabilities. Returns the bytes taken or -errno.
 */
static ssize_t write_as_caller(struct request *request, const struct open_file *file, const char *data, size_t size)
{
	struct identity AS_CALLER identity = {};
	ssize_t taken;
	int error = identity_take_capabilities(&identity, &request->caller);

	if (error)
		return error;
	loop_interruptible_begin(request);
	taken = pwrite(file->fd, data, size, 0);	/* cgroup files have no offset */
	if (taken < 0)
		taken = -errno;
	loop_interruptible_end(request);
	return taken;
}

/* Longer writes than a page are refused by kernfs before anything else (atomic_write_len in kernel/cgroup/cgroup.c). */
static ssize_t write_pid(struct request *request, const struct open_file *file, const char *data, size_t size)
{
	char text[PID_TEXT_SIZE];
	ssize_t written, length;

	if (size > (size_t)sysconf(_SC_PAGESIZE))
		return -E2BIG;
	length = pids_from_caller(data, size, request->caller.tid, text);
	if (length < 0)
		return length;
	written = write_as_caller(request, file, text, (size_t)length);
	return written < 0 ? written : (ssize_t)size;
}

void handle_write(struct request *request)
{
	const struct fuse_write_in *in = request->body;
	struct fuse_write_out out = {};
	struct open_file *file;
	ssize_t taken;

	if (in->size > request->body_size - sizeof(*in)) {
		reply_error(request, -EINVAL);
		return;
	}
	file = file_get(request->mirror, request->header->nodeid, in->fh);
	if (!file) {
		reply_error(request, -EBADF);
		return;
	}
	loop_may_block(request);
	if (holds_pids(node_kind(file->node)))
		taken = write_pid(request, file, (const char *)(in + 1), in->size);
	else
		taken = write_as_caller(request, file, (const char *)(in + 1), in->size);
	if (taken >= 0 && node_kind(file->node) == KIND_SWITCH)
		watch_settle(request->mirror);
	file_put(file);
	out.size = taken;
	if (taken < 0)
		reply_error(request, taken);
	else
		reply(request, &out, sizeof(out));
}

void handle_release(struct request *request)
{
	const struct fuse_release_in *in = request->body;
	struct cgfs_mirror *mirror = request->mirror;
	uint64_t node = request->header->nodeid;
	bool passed = in->fh & HANDLE_OF_POLLER;
	struct open_file *file;

	poller_forget(mirror, node, in->fh);
	file = passed ? NULL : file_remove(mirror, in->fh);
	if (passed || (file && file->backed))
		backing_put(mirror, node);
	if (file)
		file_put(file);
	reply_error(request, 0);
}
