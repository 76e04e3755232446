/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nearly all files of the mirror share: the mirror, a request, and how it is answered. What has to do with open files is in
 * files.h, with the caller in identity.h, with what others do in watch.h. Each part stands under the name of the file that
 * defines it.
 */
#ifndef CGFS_MIRROR_INTERNAL_H
#define CGFS_MIRROR_INTERNAL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fuse_abi.h"
#include "mirror.h"

/* A descriptor that is closed when it goes out of scope; -1 is none. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))

/* Another descriptor of what fd (borrowed) is open on, or -errno. */
static inline int dup_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

struct worker;
struct known;		/* control_known.c */
struct content;		/* control_content.c */
struct contents;
struct backings;	/* backing.c */
struct file_table;	/* file_table.c */
struct removed;		/* directory_removed.c */
struct descriptors;	/* descriptors.c */
struct poller;		/* poll.c */
struct watch;		/* watch.c */
struct stale;		/* stale.c */
struct names;		/* watch_names.c */
struct kept_directory;	/* directory_kept.c */
struct absent;		/* attributes_absent.c */
struct gone;		/* directory_gone.c */
struct replay;		/* replay.c */

struct request;

#define MAX_READERS 8

/* One mount. Written by mirror.c before the first thread starts, and constant then, but for what is started last. */
struct cgfs_mirror {
	void (*handle)(struct request *request);	/* dispatch(); tests have others */
	unsigned int n_readers;		/* threads that read the connection when nothing waits; tests have one, for the order */
	int fuse_fd;		/* the connection, from which requests are read */
	int notify_fd;		/* a clone of it, for notifications only: what is read from a clone can be answered there only */
	/* O_RDONLY directories, beside which files are opened by their handles. */
	int seen_fd;		/* SOURCE where everybody sees it: for paths, whether it is read-only, and writes that are to be events */
	int source_fd;		/* the same on our own copy of the mount, without a path: for all else */
	bool has_copy;		/* else source_fd is where everybody sees it, too */
	uint64_t source_id;	/* the cgroup id that node 1 stands for */
	char *mountpoint;
	dev_t device;		/* what st_dev is on the mirror */
	bool passthrough;	/* asked for, and granted by INIT */
	const char **control_names;
	size_t n_control_names;
	uint32_t *control_attach_types;	/* of each; NULL: unknown */
	struct cgfs_untouched untouched;	/* content NULL: unknown */
	const char **note_names;		/* the untouched's own */
	struct known *known;
	struct contents *contents;
	const struct cgfs_control_operations *control;
	void *control_context;
	struct loop *loop;
	struct backings *backings;
	struct file_table *files;
	struct removed *removed;
	struct descriptors *descriptors;
	struct poller *poller;
	struct watch *watch;
	struct stale *stale;
	struct names *names;
	struct kept_directory *kept;
	struct absent *absent;
	struct gone *gone;
	struct replay *replay;
};

/* One request, as it lies in the buffer of the worker that read it. A handler answers it exactly once. */
struct request {
	struct cgfs_mirror *mirror;
	struct worker *worker;
	const struct fuse_in_header *header;
	struct cgfs_caller caller;
	const void *body;	/* behind the header: at least what the opcode's structure needs (dispatch.c) */
	size_t body_size;
};

/* --- mirror.c ------------------------------------------------------------------------------------------------------ */

/* A mirror that has a source, and no connection yet: fuse_fd is -1. Ended with cgfs_mirror_close. */
int mirror_create(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
/* Answer the kernel's INIT, the first request of every connection. Returns 0 or -errno. */
int mirror_negotiate(struct cgfs_mirror *mirror, bool passthrough);
/* Whether the mount is, on which fd is open. */
bool is_read_only(int fd);

/* --- loop.c: reads requests and answers them -------------------------------------------------------------------- */

int loop_start(struct cgfs_mirror *mirror);
void loop_wait_for_end(struct cgfs_mirror *mirror);	/* until the connection has ended */
/* Then: joins every worker. Returns false if one is left, which somebody keeps waiting for a lock. */
bool loop_stop(struct cgfs_mirror *mirror);
/* Called by a handler before a call that may wait for others: somebody else goes on reading requests, at once or soon. */
void loop_may_block(struct request *request);
/* Whether the connection has ended: the caller waits no more. */
bool loop_has_ended(const struct request *request);
/*
 * Around a system call that a signal to the caller would end with EINTR natively (after loop_may_block): a
 * FUSE_INTERRUPT for this request ends it here. Its -EINTR is the reply then.
 */
void loop_interruptible_begin(struct request *request);
void loop_interruptible_end(struct request *request);

/* --- request.c ----------------------------------------------------------------------------------------------------- */

/* The NUL-terminated text that the request's body is from offset to its end, not empty. Returns 0 or -errno. */
int request_text(const struct request *request, size_t offset, const char **text);
/* The same for one that names a directory's entry: no slash, nor "." or "..". */
int request_name(const struct request *request, size_t offset, const char **name);
void reply_error(const struct request *request, int error);	/* 0 or -errno */
void reply(const struct request *request, const void *data, size_t size);
/* What a READ wants of a content of that size. */
void reply_part(const struct request *request, const struct fuse_read_in *in, const char *content, size_t size);
/* Space for a reply of up to MAX_IO bytes, the worker's own. What is replied from its beginning is not copied. */
void *reply_buffer(const struct request *request);
#define MAX_IO (1u << 20)
/* Write a whole message (reply or notification) to the connection, or a clone of it. Returns 0 or -errno. */
int send_message(int connection_fd, const struct iovec *parts, int n_parts);

/* --- node.c: what a node id says --------------------------------------------------------------------------------
 *
 *   63       62..56                55..0
 *   0        kind of the file      kernfs id           a mirrored directory or file; 1 is SOURCE itself
 *   1        index of the row      kernfs id           a control file of that directory
 *
 * The kind is a function of the name, so that an open needs no name to know what the file is.
 */
enum file_kind {
	KIND_PLAIN,
	KIND_PROCS,		/* cgroup.procs */
	KIND_THREADS,		/* cgroup.threads */
	KIND_SWITCH,		/* what brings other files, and takes them away (watch_switches.c) */
	KIND_PRESSURE,		/* *.pressure with a trigger: all but cgroup.pressure */
	KIND_EVENTS,		/* *.events and *.events.local */
};
#define NODE_CONTROL (1ull << 63)
#define NODE_ID_MASK ((1ull << 56) - 1)

static inline bool node_is_control(uint64_t node) { return node & NODE_CONTROL; }
static inline size_t node_control_index(uint64_t node) { return (node >> 56) & 0x7f; }
static inline uint64_t control_node(uint64_t directory, size_t index)
{
	return NODE_CONTROL | (uint64_t)index << 56 | (directory & NODE_ID_MASK);
}
static inline enum file_kind node_kind(uint64_t node) { return node_is_control(node) ? KIND_PLAIN : (node >> 56) & 0x7f; }

enum file_kind kind_of_name(const char *name);
/* The node id of a file of that name, or of a directory (name NULL: whatever its name, a directory is KIND_PLAIN). */
uint64_t node_id(const struct cgfs_mirror *mirror, const char *name, uint64_t kernfs_id);
/* The kernfs id behind a node id: SOURCE's own for 1. */
uint64_t node_kernfs_id(const struct cgfs_mirror *mirror, uint64_t node);
/* Open the file or directory of a node with O_PATH, as root. Returns a descriptor or -errno (-ESTALE: removed). */
int node_open_path(const struct cgfs_mirror *mirror, uint64_t node);
int node_open(const struct cgfs_mirror *mirror, uint64_t node, int flags);	/* the same with other flags */
/* The same by the mount that everybody sees, not by our copy of it. */
int node_open_seen(const struct cgfs_mirror *mirror, uint64_t node, int flags);
/* The path under which system calls that take no O_PATH descriptor reach fd. */
#define FD_PATH_SIZE 32
void fd_path(int fd, char path[FD_PATH_SIZE]);
/* Open what path_fd (borrowed, O_PATH) stands for with the calling thread's credentials. A descriptor or -errno. */
int reopen(int path_fd, int flags);
/* The kernfs id of name below dir_fd ("" with AT_EMPTY_PATH: of dir_fd itself). Returns 0 or -errno. */
int kernfs_id_at(int dir_fd, const char *name, int flags, uint64_t *id);
/* The index of the control file of that name, or -1. */
int control_index(const struct cgfs_mirror *mirror, const char *name, size_t length);

/* --- attributes.c: in the kernel's words ------------------------------------------------------------------------------ */

/* How long the kernel may keep names and attributes: what others change is invalidated (watch.c). */
#define CACHE_SECONDS 86400
void fill_attr(const struct stat *st, struct fuse_attr *attr);
/* What LOOKUP, MKDIR and READDIRPLUS answer for name with these attributes; its entry is cached for long. */
void fill_entry(const struct cgfs_mirror *mirror, const char *name, const struct stat *st, struct fuse_entry_out *entry);

/* --- directory.c, attributes.c, file.c: the handlers; the table of opcodes is in dispatch.c ---------------------- */

void dispatch(struct request *request);
/* Whether an open with these flags can change nothing. With O_TRUNC it does: the time of modification. */
static inline bool open_reads_only(uint32_t flags)
{
	return (flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC);
}

#define HANDLER(name) void name(struct request *request)
HANDLER(handle_lookup);
HANDLER(handle_getattr);
HANDLER(handle_setattr);
HANDLER(handle_mkdir);
HANDLER(handle_rmdir);
HANDLER(handle_forget);
HANDLER(handle_batch_forget);
HANDLER(handle_refused_creation);	/* mknod, create, symlink, link, unlink, rename: what cgroup2 answers */
HANDLER(handle_readdir);
HANDLER(handle_readdirplus);
HANDLER(handle_statfs);
HANDLER(handle_getxattr);
HANDLER(handle_listxattr);
HANDLER(handle_setxattr);
HANDLER(handle_removexattr);
HANDLER(handle_open);
HANDLER(handle_read);
HANDLER(handle_write);
HANDLER(handle_release);
HANDLER(handle_poll);		/* poll.c; control files' too */
HANDLER(handle_interrupt);	/* loop_watch.c */
HANDLER(handle_control_getxattr);	/* attributes.c: control files have no xattrs */
HANDLER(handle_control_listxattr);
HANDLER(handle_control_setxattr);
HANDLER(handle_control_removexattr);
void handle_control_lookup(struct request *request, size_t index);	/* control.c */
HANDLER(handle_control_getattr);
HANDLER(handle_control_setattr);
HANDLER(handle_control_open);
HANDLER(handle_control_read);
HANDLER(handle_control_write);
HANDLER(handle_control_ioctl);
HANDLER(handle_control_release);

#endif
