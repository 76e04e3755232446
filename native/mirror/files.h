/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and directories that are open, or kept open, and what is known of them. */
#ifndef CGFS_MIRROR_FILES_H
#define CGFS_MIRROR_FILES_H

#include "watch.h"

/* --- descriptors.c: whose open files have descriptors of ours ------------------------------------------------------- */

int descriptors_create(struct cgfs_mirror *mirror);
void descriptors_destroy(struct cgfs_mirror *mirror);
/* How many, of so many, may be kept of files that nobody has open. */
unsigned int descriptors_spare(const struct cgfs_mirror *mirror, unsigned int wanted);
/* The user to whom a descriptor that the request needs is charged. It may take long (user.c): not with a lock held. */
uint64_t descriptor_user(const struct request *request);
/* So many descriptors more are kept open for that user. Returns false if he has had his share: then they must not be kept. */
bool descriptors_take(struct cgfs_mirror *mirror, uint64_t user, unsigned int n);
void descriptors_give(struct cgfs_mirror *mirror, uint64_t user, unsigned int n);

/* --- backing.c: the files that the kernel reads and writes without us ------------------------------------------------ */

int backings_create(struct cgfs_mirror *mirror);
void backings_destroy(struct cgfs_mirror *mirror);
/* What a look at the file of a request has found, and what had been counted before. */
struct look {
	struct counts counts;
	struct timespec until;	/* it is believed no longer: backing.c says why */
	int path_fd;		/* O_PATH; -1: it has not been looked for */
	uint32_t owner;
	mode_t mode;
};
#define NO_LOOK ((struct look){.path_fd = -1})
/* Look for it. Returns 0 or -errno; look_end() either way. */
int look_for_file(const struct request *request, struct look *look);
void look_end(struct look *look);
#define CLEANUP_LOOK __attribute__((cleanup(look_end)))
/*
 * A node that is open has one backing id, counted from here to backing_put(). Called as the daemon itself, never as a caller.
 *
 * The id (> 0) that is kept of the request's file, without a look at it: if it is_there, as who calls this knows, or if it is
 * known to be; and if it is known that the request's caller, as its owner, may do what needs that mode. 0: a look is needed.
 */
int backing_find(const struct request *request, bool is_there, mode_t needed);
/* The id for what the look has found; its descriptor is kept. Returns the id or -errno. */
int backing_of(const struct request *request, struct look *look);
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
	bool backed;		/* a backing of node is counted for it */
	uint64_t reader;	/* to whom n_read descriptors are charged, for the memory of what he reads */
	unsigned int n_read;
	pthread_mutex_t lock;	/* guards the snapshot and the content; taken before those of the contents and of descriptors.c */
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
/* The open file of a node that the handle stands for, counted until file_put(), or NULL: none. */
struct open_file *file_get(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle);
void file_put(struct open_file *file);
/* The open file, or NULL. The handle stands for nothing any more: the descriptor is closed with the last file_put(). */
struct open_file *file_remove(struct cgfs_mirror *mirror, uint64_t file_handle);
/* A descriptor of a node that is open, removed or not. -ESTALE if none is. */
int file_open_path(struct cgfs_mirror *mirror, uint64_t node);

/* --- directory_removed.c: removed directories that are in use --------------------------------------------------------- */

int removed_create(struct cgfs_mirror *mirror);
void removed_destroy(struct cgfs_mirror *mirror);
/* Keep fd (taken over; O_PATH) of a directory that that user removes, until the kernel forgets the node. */
void removed_keep(struct cgfs_mirror *mirror, uint64_t user, uint64_t node, int fd);
void removed_forget(struct cgfs_mirror *mirror, uint64_t node);
/* As node_open_path(), but also for a removed one that somebody has open still. */
int node_open_even_removed(struct cgfs_mirror *mirror, uint64_t node);

/* --- directory_gone.c: who asks for what is gone ---------------------------------------------------------------------- */

int gone_create(struct cgfs_mirror *mirror);
void gone_destroy(struct cgfs_mirror *mirror);
/* The directory of that node was removed. Whether the kernel does not believe any more that there is a name for it. */
void gone_note(struct cgfs_mirror *mirror, uint64_t node, bool is_forgotten);
void gone_note_forgotten(struct cgfs_mirror *mirror, uint64_t node);
/* The answer to a request whose file or directory is gone: -ESTALE, or -ENOENT to who came by no path. */
int gone_error(struct request *request);

/* --- directory_kept.c: the directory that was open last --------------------------------------------------------------- */

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

/* --- attributes_absent.c: extended attributes that are not there ------------------------------------------------------ */

int absent_create(struct cgfs_mirror *mirror);
void absent_destroy(struct cgfs_mirror *mirror);
/* Whether it is known that the node has none of that name. If not, counts are for absent_note(), once it is found out. */
bool absent_is_known(const struct cgfs_mirror *mirror, uint64_t node, const char *name, struct counts *counts);
void absent_note(const struct cgfs_mirror *mirror, uint64_t node, const char *name, const struct counts *counts);

/* --- file_size.c: the length of a mirrored file ------------------------------------------------------------------------ */

/* Whether a file of that mode is as long as its content, and the kernel is not to keep its attributes. */
bool sized_by_content(const struct cgfs_mirror *mirror, mode_t mode);
/* If so, set st_size: of the file called name in dir_fd, or (name NULL) of dir_fd itself, which may be O_PATH. */
void size_by_content(const struct cgfs_mirror *mirror, int dir_fd, const char *name, struct stat *st);

/* --- poll.c ----------------------------------------------------------------------------------------------------------- */

int poller_create(struct cgfs_mirror *mirror);
int poller_start(struct cgfs_mirror *mirror);	/* its thread */
void poller_destroy(struct cgfs_mirror *mirror);
/* A file handle for an open whose reads the kernel passes through: it names the open to poll.c and nobody else. */
uint64_t poller_handle(struct cgfs_mirror *mirror);
#define HANDLE_OF_POLLER (1ull << 63)
/* A control file is about to be read from its beginning: what it says now has been seen. */
void poller_control_read(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle);

/* --- poll_waiter.c: those who poll ------------------------------------------------------------------------------------ */

void poller_forget(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle);	/* at RELEASE */
void poller_control_changed(struct cgfs_mirror *mirror, uint64_t node);

#endif
