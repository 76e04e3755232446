/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the mirror share. Each part stands under the name of the file that defines it. */
#ifndef CGFS_MIRROR_INTERNAL_H
#define CGFS_MIRROR_INTERNAL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/fanotify.h>
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
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))

/* Another descriptor of what fd (borrowed) is open on, or -errno. */
static inline int dup_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

struct worker;
struct known;		/* known.c */
struct content;		/* content.c */
struct contents;
struct backings;	/* backing.c */
struct file_table;	/* file_table.c */
struct removed;		/* removed.c */
struct descriptors;	/* descriptors.c */
struct poller;		/* poll.c */
struct watch;		/* watch.c */
struct stale;		/* stale.c */
struct names;		/* names.c */
struct kept_directory;	/* kept.c */
struct absent;		/* absent.c */
struct replay;		/* replay.c */

struct request;

#define MAX_READERS 8

/* One mount. Written by mirror.c before the first thread starts, and constant then. */
struct cgfs_mirror {
	void (*handle)(struct request *request);	/* dispatch(); tests have others */
	unsigned int n_readers;		/* threads that read the connection when nothing waits; tests have one, for the order */
	int fuse_fd;		/* the connection, from which requests are read */
	int notify_fd;		/* a clone of it, for notifications only: what is read from a clone can be answered there only */
	int seen_fd;		/* O_RDONLY directory: SOURCE, where everybody sees it; for paths that others are told */
	int source_fd;		/* the same on a copy of the mount, our own; every file is opened by its handle beside it */
	uint64_t source_id;	/* the cgroup id that node 1 stands for */
	char *mountpoint;
	dev_t device;		/* what st_dev is on the mirror */
	bool passthrough;	/* asked for, and granted by INIT */
	bool read_only;		/* SOURCE was mounted so at the start */
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

/* What others have done on cgroup2, as far as it is counted (watch.c). */
struct counts {
	uint64_t removals, attributes;
};

static inline bool is_same_count(const struct counts *one, const struct counts *other)
{
	return one->removals == other->removals && one->attributes == other->attributes;
}

/* --- mirror.c ------------------------------------------------------------------------------------------------------ */

/* A mirror that has a source, and no connection yet: fuse_fd is -1. Ended with cgfs_mirror_close. */
int mirror_create(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
/* Answer the kernel's INIT, the first request of every connection. Returns 0 or -errno. */
int mirror_negotiate(struct cgfs_mirror *mirror, bool passthrough);

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

/* --- reply.c ------------------------------------------------------------------------------------------------------- */

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
	KIND_SWITCH,		/* what brings other files, and takes them away (switches.c) */
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
/* The path under which system calls that take no O_PATH descriptor reach fd. */
#define FD_PATH_SIZE 32
void fd_path(int fd, char path[FD_PATH_SIZE]);
/* Open what path_fd (borrowed, O_PATH) stands for with the calling thread's credentials. A descriptor or -errno. */
int reopen(int path_fd, int flags);
/* The kernfs id of name below dir_fd ("" with AT_EMPTY_PATH: of dir_fd itself). Returns 0 or -errno. */
int kernfs_id_at(int dir_fd, const char *name, int flags, uint64_t *id);
/* The index of the control file of that name, or -1. */
int control_index(const struct cgfs_mirror *mirror, const char *name, size_t length);
void fill_attr(const struct stat *st, struct fuse_attr *attr);
/* What LOOKUP, MKDIR and READDIRPLUS answer for name with these attributes; its entry is cached for long. */
void fill_entry(const struct cgfs_mirror *mirror, const char *name, const struct stat *st, struct fuse_entry_out *entry);
/* The NUL-terminated text that the request's body is from offset to its end, not empty. Returns 0 or -errno. */
int request_text(const struct request *request, size_t offset, const char **text);
/* The same for one that names a directory's entry: no slash, nor "." or "..". */
int request_name(const struct request *request, size_t offset, const char **name);
/* How long the kernel may keep names and attributes: what others change is invalidated (watch.c). */
#define CACHE_SECONDS 86400

/* --- directory.c, attributes.c, file.c: the handlers; the table of opcodes is in dispatch.c ---------------------- */

void dispatch(struct request *request);

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

/* --- kept.c: the directory that was open last ---------------------------------------------------------------------------- */

struct directory {
	struct cgfs_mirror *mirror;
	uint64_t node;
	uint64_t removals;	/* watch_removals() before it was opened */
	int fd;			/* or -errno */
	int flags;		/* O_PATH, or O_RDONLY */
	bool was_kept;		/* it may have been removed: what is not found in it is to be looked for anew */
};
int kept_create(struct cgfs_mirror *mirror);
void kept_destroy(struct cgfs_mirror *mirror);
/* Something was removed: keep nothing. */
void kept_let_go(struct cgfs_mirror *mirror);
/* The directory of that node, or of that control file, at least with these flags. It is kept at the end of its scope. */
struct directory directory_open(struct cgfs_mirror *mirror, uint64_t node, int flags);
void directory_open_anew(struct directory *directory);
void directory_keep(struct directory *directory);
#define KEEP_DIRECTORY __attribute__((cleanup(directory_keep)))

/* --- absent.c: extended attributes that are not there ----------------------------------------------------------------- */

int absent_create(struct cgfs_mirror *mirror);
void absent_destroy(struct cgfs_mirror *mirror);
/* Whether it is known that the node has none of that name. If not, counts are for absent_note(), once it is found out. */
bool absent_is_known(const struct cgfs_mirror *mirror, uint64_t node, const char *name, struct counts *counts);
void absent_note(const struct cgfs_mirror *mirror, uint64_t node, const char *name, const struct counts *counts);

/* --- size.c: the length of a mirrored file ------------------------------------------------------------------------ */

/* Whether a file of that mode is as long as its content, and the kernel is not to keep its attributes. */
bool sized_by_content(const struct cgfs_mirror *mirror, mode_t mode);
/* If so, set st_size: of the file called name in dir_fd, or (name NULL) of dir_fd itself, which may be O_PATH. */
void size_by_content(const struct cgfs_mirror *mirror, int dir_fd, const char *name, struct stat *st);

/* --- task_stat.c ------------------------------------------------------------------------------------------------------ */

/* The number that is that field (from 1, and not the second) of a thread's /proc/TID/stat; -1: it cannot be had. */
int64_t task_stat(uint32_t tid, int field);

/* --- identity.c: acting as the caller ---------------------------------------------------------------------------- */

/*
 * Take on, for the calling thread only, what the caller may do: ids, supplementary groups, effective capabilities (none if
 * his user namespace is not the daemon's) and, with IDENTITY_CGROUP_NS, his cgroup namespace. A tid of 0 has no groups and
 * no capabilities, and is refused (-ESRCH) where its cgroup namespace matters. Returns 0 or -errno; on error nothing is
 * changed.
 */
struct identity {
	unsigned int changed;	/* what identity_drop has to take back; start with {} */
};
enum { IDENTITY_CGROUP_NS = 1 };
/* Note what the daemon itself is, before any thread is somebody else. Returns 0 or -errno. */
int identity_init(void);
/* Its namespaces, as namespace_id() says them. */
struct own_namespaces {
	uint64_t user, cgroup, pid;
};
const struct own_namespaces *identity_own_namespaces(void);
int identity_take(struct identity *identity, const struct cgfs_caller *caller, int flags);
/* Whether there would be nothing to take on, with IDENTITY_CGROUP_NS: whoever is so may do what the daemon may. */
bool identity_is_own(const struct cgfs_caller *caller);
/* Be the daemon again. Aborts the process if that fails: a thread that is somebody else must not go on. */
void identity_drop(struct identity *identity);
#define AS_CALLER __attribute__((cleanup(identity_drop)))
/*
 * For what the file's mode allows to its owner, where the owner is the caller: then neither groups nor capabilities matter,
 * and they are not read, which takes long. The thread has none meanwhile, unless the owner is root.
 */
int identity_take_owner(struct identity *identity, const struct cgfs_caller *caller);
/* Whether that is so. The two are to be looked at anew: what the kernel has checked may be old. */
static inline bool identity_owner_may(const struct cgfs_caller *caller, uint32_t owner, mode_t mode, mode_t needed)
{
	return caller->uid == owner && (mode & needed) == needed;
}
/* For a write judged by the writer's capabilities on a file that the opener opened: capabilities only. */
int identity_take_capabilities(struct identity *identity, const struct cgfs_caller *caller);
struct credentials;
/* What the caller may do, as identity_take() takes it on. Returns 0 or -errno; credentials_free() either way. */
int identity_credentials(const struct cgfs_caller *caller, struct credentials *credentials);

/* A tid, or 0 where the daemon's /proc is not of its own PID namespace and has another task by that number. */
uint32_t identity_visible_tid(uint32_t tid);

/* Whether the calling thread has a capability now. */
bool identity_has(int capability);

/* --- credentials.c: namespaces of tasks; the rest is in credentials.h ------------------------------------------------------ */

/* A namespace of task tid, by its name in /proc/TID/ns: what identifies it; a descriptor. Return 0, or a descriptor,
 * or -errno. */
#define THREAD_SELF UINT32_MAX	/* as a tid: the calling thread, whatever /proc calls it */
int namespace_id(uint32_t tid, const char *name, uint64_t *id);
int namespace_open(uint32_t tid, const char *name);

/* --- pids.c: pids as the caller's PID namespace numbers them -------------------------------------------------------- */

/* The PID namespace of task tid: 1 and a descriptor if it is not the daemon's own, 0 if it is, or -errno (-ESRCH for a
 * tid of 0: a namespace that the daemon cannot see). */
int pids_foreign_namespace(uint32_t tid, int *pidns_fd);
/*
 * What to write to cgroup.procs or cgroup.threads instead of text, so that it means to the kernel, coming from the
 * daemon, what text means coming from task tid ("0" is the writer); where text means nothing, or nobody that tid can
 * see, the kernel refuses it with the native errno. Returns the length of out.
 */
#define PID_TEXT_SIZE 16
size_t pids_from_caller(const char *text, size_t size, uint32_t tid, char out[PID_TEXT_SIZE]);
/* Lines of the daemon's pids in text to those of pidns_fd (0 where it has none; all 0 if pidns_fd is -1). Returns 0 and
 * a malloc'd text and its size, or -errno. */
int pids_to_caller(const char *text, size_t size, int pidns_fd, char **out, size_t *out_size);

/* --- descriptors.c: whose open files have descriptors of ours ------------------------------------------------------- */

int descriptors_create(struct cgfs_mirror *mirror);
void descriptors_destroy(struct cgfs_mirror *mirror);
/* How many, of so many, may be kept of files that nobody has open. */
unsigned int descriptors_spare(const struct cgfs_mirror *mirror, unsigned int wanted);
/* The user to whom a descriptor that the request needs is charged. It may take long (user.c): not with a lock held. */
uint64_t descriptor_user(const struct request *request);
/* One descriptor more is kept open for that user. Returns false if he has had his share: then it must not be kept. */
bool descriptors_take(struct cgfs_mirror *mirror, uint64_t user, unsigned int n);
void descriptors_give(struct cgfs_mirror *mirror, uint64_t user, unsigned int n);

/* --- backing.c: the files that the kernel reads and writes without us ------------------------------------------------ */

int backings_create(struct cgfs_mirror *mirror);
void backings_destroy(struct cgfs_mirror *mirror);
/* What a look at the file of a request has found, and what had been counted before. */
struct look {
	struct counts counts;
	int path_fd;		/* O_PATH; -1: it has not been looked for */
	uint32_t owner;
	mode_t mode;
};
#define NO_LOOK ((struct look){.path_fd = -1})
/* Look for it. Returns 0 or -errno. */
int look_for_file(const struct request *request, struct look *look);
void look_end(struct look *look);
#define CLEANUP_LOOK __attribute__((cleanup(look_end)))
/*
 * One backing id per node that is open, counted. Returns the id (> 0) or -errno. Called as the daemon itself, never as
 * a caller. What was looked for is kept, and let go by the look, if it is not kept already. What was not is looked for here,
 * unless it is kept and it is_there, as the caller knows, or it is known to be.
 */
int backing_get(const struct request *request, struct look *look, bool is_there);
/* The same, where it is known without a look that the file is there and that the caller, as its owner, may do what needs that
 * mode. Returns 0 where it is not. */
int backing_get_owned(const struct request *request, mode_t needed);
void backing_put(struct cgfs_mirror *mirror, uint64_t node);
/* Something was removed: keep no descriptors of files that nobody has open. */
void backings_let_go(struct cgfs_mirror *mirror);
/* A descriptor (O_PATH) of a node that is open, removed or not. -ESTALE if none is. */
int backing_open_path(struct cgfs_mirror *mirror, uint64_t node);

/* --- file_table.c: the open files whose reads and writes come to us ---------------------------------------------------- */

struct open_file {
	struct cgfs_mirror *mirror;
	uint64_t user;		/* to whom n_charged descriptors are charged: fd, or what the opener is kept in */
	unsigned int n_charged;
	int fd;			/* opened with the opener's credentials and cgroup namespace; -1: a control file */
	uint64_t node;
	LIST_ENTRY(open_file) with_fd;	/* file_table.c */
	bool backed;		/* holds a backing_get() of node */
	uint64_t reader;	/* to whom n_read descriptors are charged, for the memory of what he reads */
	unsigned int n_read;
	pthread_mutex_t lock;	/* guards the snapshot and the content; taken before no other but that of the contents */
	char *snapshot;		/* what a reader in another PID namespace sees, as of its read at offset 0 */
	size_t snapshot_size;
	struct content *content;	/* of a control file: what its reader reads, as of his read at offset 0; or NULL */
	struct content *opener;	/* of one that is open for writing: who has opened it, a struct cgfs_credentials */
	atomic_uint references;
};

int file_table_create(struct cgfs_mirror *mirror);
void file_table_destroy(struct cgfs_mirror *mirror);
/* Of the request's node. Takes ownership of fd (also on error). Returns 0 and a file handle, never 0, or -errno. */
int file_add(const struct request *request, int fd, bool backed, uint64_t *file_handle);
/* Charge n descriptors to the request's caller until the file is closed; once for a file. Returns 0 or -ENFILE. */
int file_charge(const struct request *request, struct open_file *file, unsigned int n);
/*
 * Charge that user for so many bytes that the file keeps for its reader, instead of those before: they count as descriptors.
 * Returns false if he has had his share: none are to be kept then. Called with the file's lock.
 */
bool file_charge_reader(struct open_file *file, uint64_t user, size_t bytes);
/* So many bytes of what is kept for an open file count as a descriptor. */
#define LIKE_A_DESCRIPTOR 4096
/* The open file of a handle, counted until file_put(), or NULL: no such file is open. */
struct open_file *file_get(struct cgfs_mirror *mirror, uint64_t file_handle);
void file_put(struct open_file *file);
/* As file_get(), and the handle stands for nothing any more: the descriptor is closed with the last file_put(). */
struct open_file *file_remove(struct cgfs_mirror *mirror, uint64_t file_handle);
/* A descriptor of a node that is open, removed or not. -ESTALE if none is. */
int file_open_path(struct cgfs_mirror *mirror, uint64_t node);

/* --- removed.c: removed directories that are in use ----------------------------------------------------------------------- */

int removed_create(struct cgfs_mirror *mirror);
void removed_destroy(struct cgfs_mirror *mirror);
/* Keep fd (taken over; O_PATH) of a directory that that user removes, until the kernel forgets the node. */
void removed_keep(struct cgfs_mirror *mirror, uint64_t user, uint64_t node, int fd);
void removed_forget(struct cgfs_mirror *mirror, uint64_t node);
/* As node_open_path(), but also for a removed one that somebody has open still. */
int node_open_even_removed(struct cgfs_mirror *mirror, uint64_t node);

/* --- poll.c ----------------------------------------------------------------------------------------------------------- */

int poller_create(struct cgfs_mirror *mirror);
void poller_destroy(struct cgfs_mirror *mirror);
/* A file handle for an open whose reads the kernel passes through: it names the open to poll.c and nobody else. */
uint64_t poller_handle(struct cgfs_mirror *mirror);
#define HANDLE_OF_POLLER (1ull << 63)
/* A control file is about to be read from its beginning: what it says now has been seen. */
void poller_control_read(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle);

/* --- waiter.c: those who poll -------------------------------------------------------------------------------------------- */

void poller_forget(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle);	/* at RELEASE */
void poller_control_changed(struct cgfs_mirror *mirror, uint64_t node);

/* --- switches.c: files that bring others, and take them away, by what is written to them ------------------------------------ */

bool is_switch(const char *name);
/* Somebody wrote to the file of that name in the directory dir (a node): if it is a switch, what comes of it is made known. */
void switch_written(struct cgfs_mirror *mirror, const char *name, uint64_t dir);
/*
 * The same for the file with that kernfs id: of a write here, which is no event, or where the event did not say its name and
 * directory, since the kernel had dropped the name, and found the file by handle. Takes locks of directories.
 */
void switch_find(struct cgfs_mirror *mirror, uint64_t file);

/* --- watch.c: what others change on the cgroup2 mount ------------------------------------------------------------------- */

int watch_start(struct cgfs_mirror *mirror);
/* Returns false if a thread is left behind, which uses the mirror until somebody gives back a lock. */
bool watch_stop(struct cgfs_mirror *mirror);
/*
 * How often files may have been taken away, as far as that has been counted: a file that was found after one count is there
 * while the count is the same, and everything has been counted. That is to be asked first. (backing.c has the exceptions.)
 */
uint64_t watch_removals(const struct cgfs_mirror *mirror);
/* With that, and in the same way, how often attributes may have been changed, extended ones included. */
struct counts watch_counts(const struct cgfs_mirror *mirror);
/* Files have been taken away, or may have been. */
void watch_count_removal(const struct cgfs_mirror *mirror);
/* Whether all that was done before this call has been counted. */
bool watch_has_counted(const struct cgfs_mirror *mirror);
/*
 * What to answer where the file or directory of a request is gone: ESTALE, and the kernel looks all names on the way up
 * anew, once. From then on the directory is known to be gone, and whoever asks for a name in it has it open: ENOENT, as
 * on cgroup2.
 */
int watch_gone_error(struct request *request);
/*
 * Wait until the kernel has been told to forget what was changed on cgroup2 before this call, by whomever, but in
 * directories that somebody keeps locked. Waits a second at most. Called by a handler after loop_may_block(), of a
 * request whose caller has no directory locked.
 */
void watch_settle(struct cgfs_mirror *mirror);
/* The kernel does not believe any more that there is a name for that node, which was removed. */
void watch_note_expired(struct cgfs_mirror *mirror, uint64_t node);

/*
 * The fanotify event at offset *at of buffer, copied to metadata since it need not be aligned, and *at moved behind it.
 * Returns what follows the metadata, metadata->event_len bytes with it; NULL at the end.
 */
const char *next_event(const char *buffer, size_t size, size_t *at, struct fanotify_event_metadata *metadata);

/* --- names.c: the names of files ------------------------------------------------------------------------------------------ */

int names_create(struct cgfs_mirror *mirror);
void names_destroy(struct cgfs_mirror *mirror);
/* The kernel is to keep a file's name. Returns false if it must not, since nobody could tell it to forget. */
bool names_add(const struct cgfs_mirror *mirror, const char *name);
/* The names there are, from *index (0 at first) on. Returns false at the end. */
bool names_next(const struct cgfs_mirror *mirror, size_t *index, const char **name);

/* --- stale.c: tells the kernel what it must not believe any more ---------------------------------------------------------- */

enum stale_what {
	STALE_CREATED,		/* name was made in the directory */
	STALE_DELETED,		/* name, whose kernfs id was child, was removed from it */
	STALE_NODE,		/* the attributes of the node */
	STALE_EVENT,		/* and its content: an event of an events file */
	STALE_FILES,		/* files of the directory may have come or gone */
	STALE_CHILDREN,		/* the same in each of its child directories */
	STALE_NAMELESS,		/* perhaps either: the file with that kernfs id, whose name is not known, was written to */
	STALE_REMOVED,		/* the directory was removed through the mirror */
	STALE_ALL,		/* events were lost */
};
int stale_start(struct cgfs_mirror *mirror);
bool stale_stop(struct cgfs_mirror *mirror, const struct timespec *deadline);	/* as watch_stop() */
/* Never waits. name (copied) may be NULL. */
void stale_add(struct cgfs_mirror *mirror, enum stale_what what, uint64_t node, const char *name, uint64_t child);
/* Wait until all that was added before has been told, but where a directory is kept locked, or until the deadline. */
void stale_flush(struct cgfs_mirror *mirror, const struct timespec *deadline);

/* --- replay.c: inotify events for what FUSE does not see ------------------------------------------------------------------ */

enum replay_what { REPLAY_MODIFIED, REPLAY_CREATED, REPLAY_DELETED };
int replay_start(struct cgfs_mirror *mirror);
/* Waits for what is being replayed, but not for long where somebody holds a lock; from then on nothing is. */
void replay_end(struct cgfs_mirror *mirror);
bool replay_stop(struct cgfs_mirror *mirror);	/* and free it; returns as watch_stop() */
/*
 * Let watchers on the mirror see that the node was modified (name NULL), or that name was made in or removed from that
 * directory; child is the kernfs id it had. Never waits.
 */
void replay_add(struct cgfs_mirror *mirror, enum replay_what what, uint64_t node, const char *name, uint64_t child);
/* Answer a request that a replay has made itself. Returns false if it is none, or is to be answered as any other. */
bool replay_answers(struct request *request);

#endif
