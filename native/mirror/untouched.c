/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control files that nobody has touched: nothing is attached, and there is no note of anything. Nearly all are like that,
 * and a walk over a tree asks for three of them in each directory. What they are and say is told at the start by whoever
 * decides about control files (struct cgfs_untouched), and answered here; everything else is relayed.
 *
 * So are all opens for reading, which decide nothing. A reader sees one content whole: what it has begun to read here ends
 * here, and what it has begun to read at the relay's other end, there.
 */
#include "internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "../bpf.h"

/*
 * Whether the directory has a note about that control file. If that cannot be found out, too. Each is asked for by its
 * name: to list a directory's attributes makes kernfs give it attributes, and new times (kernfs_iop_listxattr).
 */
static bool is_noted(const struct cgfs_untouched *untouched, int dir, size_t index)
{
	for (size_t i = 0; i < untouched->n_notes; i++) {
		if (fgetxattr(dir, untouched->note_names[index * untouched->n_notes + i], NULL, 0) >= 0 || errno != ENODATA)
			return true;
	}
	return false;
}

/*
 * Whether the control file of that node, in the directory open as dir, is untouched, and the revision of what is attached.
 * Without a revision its time of modification has to be made of the content: that is not done here.
 */
static bool is_untouched(const struct cgfs_mirror *mirror, int dir, uint64_t node, uint64_t *revision)
{
	size_t index = node_control_index(node);
	struct cgfs_query query = {};

	if (!mirror->untouched.content || !mirror->control_attach_types)
		return false;
	if (cgfs_prog_query(dir, mirror->control_attach_types[index], 0, NULL, NULL, 0, &query))
		return false;
	*revision = query.revision;
	return !query.count && query.revision && !is_noted(&mirror->untouched, dir, index);
}

/* --- attributes -------------------------------------------------------------------------------------------------------- */

/* Owner and group are those of cgroup.controllers. Returns false if the file was touched. */
static bool attributes_of_untouched(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_attr *attr)
{
	const struct cgfs_untouched *untouched = &mirror->untouched;
	uint64_t revision;
	struct stat st;

	if (dir < 0 || !is_untouched(mirror, dir, node, &revision) ||
	    fstatat(dir, "cgroup.controllers", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	*attr = (struct fuse_attr){
		.ino = node,
		.size = strlen(untouched->content),
		.mode = S_IFREG | untouched->mode,
		.nlink = 1,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.blksize = 4096,
	};
	attr->atime = attr->mtime = attr->ctime = (uint64_t)untouched->time_s;
	attr->atimensec = attr->mtimensec = attr->ctimensec = (uint32_t)(revision % (1000 * 1000 * 1000));
	return true;
}

bool untouched_entry(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){.nodeid = node, .entry_valid = CACHE_SECONDS};
	return attributes_of_untouched(mirror, dir, node, &entry->attr);
}

void handle_control_lookup(struct request *request, size_t index)
{
	uint64_t node = control_node(request->header->nodeid, index);
	CLEANUP_FD int dir = node_open(request->mirror, node, O_RDONLY | O_DIRECTORY);
	struct fuse_entry_out entry;

	if (untouched_entry(request->mirror, dir, node, &entry))
		reply(request, &entry, sizeof(entry));
	else
		handle_relayed(request);
}

void handle_control_getattr(struct request *request)
{
	uint64_t node = request->header->nodeid;
	CLEANUP_FD int dir = node_open(request->mirror, node, O_RDONLY | O_DIRECTORY);
	struct fuse_attr_out out = {};

	if (attributes_of_untouched(request->mirror, dir, node, &out.attr))
		reply(request, &out, sizeof(out));
	else
		handle_relayed(request);
}

/* --- readers -------------------------------------------------------------------------------------------------------------- */

void handle_control_open(struct request *request)
{
	const struct fuse_open_in *in = request->body;
	struct mirror_open_out out = {.open_flags = FOPEN_DIRECT_IO};
	int error;

	if ((in->flags & O_ACCMODE) != O_RDONLY) {
		handle_relayed(request);
		return;
	}
	error = file_add(request, -1, false, &out.fh);
	if (error)
		reply_error(request, error);
	else
		reply(request, &out, sizeof(out));
}

static bool says_untouched(const struct cgfs_mirror *mirror, uint64_t node)
{
	CLEANUP_FD int dir = node_open(mirror, node, O_RDONLY | O_DIRECTORY);
	uint64_t revision;

	return dir >= 0 && is_untouched(mirror, dir, node, &revision);
}

static void reply_content(const struct request *request, const struct fuse_read_in *in)
{
	const char *content = request->mirror->untouched.content;
	size_t size = strlen(content);

	if (in->offset >= size)
		reply(request, content, 0);
	else
		reply(request, content + in->offset, size - in->offset < in->size ? size - in->offset : in->size);
}

void handle_control_read(struct request *request)
{
	const struct fuse_read_in *in = request->body;
	struct open_file *file = file_get(request->mirror, in->fh);
	bool here = false;

	if (!in->offset)
		poller_control_read(request->mirror, request->header->nodeid, in->fh);
	if (file) {
		pthread_mutex_lock(&file->lock);
		if (!in->offset)
			file->untouched = says_untouched(request->mirror, file->node);
		here = file->untouched;
		file->relayed |= !here;
		pthread_mutex_unlock(&file->lock);
		file_put(file);
	}
	if (here)
		reply_content(request, in);
	else
		handle_relayed(request);
}

void handle_control_release(struct request *request)
{
	const struct fuse_release_in *in = request->body;
	struct open_file *file = file_remove(request->mirror, in->fh);
	bool relayed = !file || file->relayed;

	poller_forget(request->mirror, request->header->nodeid, in->fh);
	if (file)
		file_put(file);
	if (relayed)
		handle_relayed(request);
	else
		reply_error(request, 0);
}

uint64_t cgfs_mirror_reader_node(struct cgfs_mirror *mirror, uint64_t file_handle)
{
	struct open_file *file = file_get(mirror, file_handle);
	uint64_t node = 0;

	if (file) {
		if (node_is_control(file->node))
			node = file->node;
		file_put(file);
	}
	return node;
}
