/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control files of which something is known here: control_known.c says what; and contents, of which each is there once. */
#ifndef CGFS_MIRROR_CONTROL_KNOWN_H
#define CGFS_MIRROR_CONTROL_KNOWN_H

#include "internal.h"

/* --- control_content.c ------------------------------------------------------------------------------------------------ */

/* The content of a control file. Whoever reads the same shares it: it costs its memory once. */
struct content {
	struct contents *contents;
	LIST_ENTRY(content) in_bucket;
	size_t references, size;
	char data[] __attribute__((aligned(8)));	/* text, or a struct cgfs_credentials */
};

int contents_create(struct cgfs_mirror *mirror);
void contents_destroy(struct cgfs_mirror *mirror);
/* The content that is data, to be given back with content_put(); NULL: there is no memory for it. */
struct content *content_get(struct contents *contents, const char *data, size_t size);
struct content *content_share(struct content *content);
void content_put(struct content *content);

/* --- control_known.c -------------------------------------------------------------------------------------------------- */

#define NOTES_SIZE 2048

/* Who owns a directory's control files: who owns its cgroup.controllers. */
struct owner {
	uint32_t uid, gid;
	struct timespec since;	/* the ctime, which each chown changes */
};

/* What answers about a control file are made of. */
struct state {
	uint64_t node;
	uint64_t revision;
	struct owner owner;
	bool is_complete;	/* all the rest was read */
	bool nothing_attached;	/* for sure */
	bool has_notes;
	size_t notes_size;
	char notes[NOTES_SIZE];
};

/* A control file's attributes as FUSE has them. */
struct fuse_attr control_attributes(uint64_t node, const struct cgfs_control_snapshot *snapshot, size_t size);
int known_create(struct cgfs_mirror *mirror);
void known_destroy(struct cgfs_mirror *mirror);
/*
 * The attributes of the control file node, whose directory is open as dir (or an error). Returns false if they are not
 * known; what they are to be made of is in state then: to be read before whoever decides is asked, and given to know() with
 * the answer.
 */
bool known_attributes(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct state *state, struct fuse_attr *attr);
/* What LOOKUP answers for the control file node, but for its attributes. */
struct fuse_entry_out control_entry(uint64_t node);
/* The same with them; for the rest as known_attributes(). */
bool known_entry(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_entry_out *entry);
/* As known_attributes() for the content, which is to be put; NULL: it is not known. */
struct content *known_content(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct state *state);
/* What is made of that state: given again for as long as it is the same. */
void know(const struct cgfs_mirror *mirror, const struct state *state, const struct fuse_attr *attr, struct content *content);

#endif
