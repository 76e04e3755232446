/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests that a replay makes itself, known by the threads they come from. They are answered so that the event is
 * raised (replay.c says why that is safe), and cgroup2 is only looked at.
 */
#include <fcntl.h>
#include <string.h>

#include "replay.h"
#include "stale.h"

/* What cgroup2 has under that name in the request's directory. Returns 0 or -errno. */
static int find(const struct request *request, const char *name, struct stat *st)
{
	CLEANUP_FD int dir = node_open_path(request->mirror, request->header->nodeid);

	if (dir < 0)
		return dir;
	return fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* That could not be found out is no reason to say so: what is mounted on a directory goes with it. */
static bool is_gone(int error)
{
	return error == -ENOENT || error == -ESTALE;
}

/* What is being replayed, as far as the request is about it, and the name that both are about. */
struct about {
	bool anything;
	enum replay_what what;
	uint64_t child;
	const char *name;	/* in the request */
};

/* Lock held. What the thread that made the request is doing; NULL: it is none of ours. */
static const struct errand *errand_of(const struct replay *replay, const struct request *request)
{
	const struct act *act;

	LIST_FOREACH(act, &replay->acts, next) {
		if (act->tid == request->caller.tid)
			return act->errand;
	}
	return NULL;
}

/* A copy: once the connection has ended, the thread goes on without waiting for the answer. */
static struct about what_is_replayed(const struct request *request, size_t offset_of_name)
{
	struct replay *replay = request->mirror->replay;
	struct about about = {};
	const struct errand *errand;

	if (request_name(request, offset_of_name, &about.name))
		return about;
	pthread_mutex_lock(&replay->lock);
	errand = errand_of(replay, request);
	if (errand && errand->node == request->header->nodeid && strcmp(errand->text, about.name) == 0) {
		about.anything = true;
		about.what = (enum replay_what)errand->what;
		about.child = errand->child;
	}
	pthread_mutex_unlock(&replay->lock);
	return about;
}

/* Whether the kernel may know that directory already. It cannot come to know it while somebody has the parent's lock to make it. */
static bool may_be_known(const struct cgfs_mirror *mirror, const struct stat *st)
{
	return inval_attributes(mirror, node_id(mirror, NULL, st->st_ino));
}

/* Returns false where the name is to be looked up as for anybody else. */
static bool answer_lookup(struct request *request)
{
	struct about about = what_is_replayed(request, 0);
	struct fuse_entry_out entry = {.nodeid = about.child};
	struct stat st;
	int error;

	if (!about.anything)
		return false;
	error = find(request, about.name, &st);
	if (about.what == REPLAY_CREATED) {
		if (!is_gone(error) && (error || may_be_known(request->mirror, &st)))
			return false;
		reply_error(request, -ENOENT);
		return true;
	}
	if (!about.child || !is_gone(error))
		return false;
	/* For this one rmdir only: nothing of it is kept. */
	entry.attr = (struct fuse_attr){.ino = about.child, .mode = S_IFDIR | 0755, .nlink = 2};
	reply(request, &entry, sizeof(entry));
	return true;
}

static void answer_mkdir(struct request *request)
{
	struct about about = what_is_replayed(request, sizeof(struct fuse_mkdir_in));
	struct fuse_entry_out entry;
	struct stat st;

	if (!about.anything || about.what != REPLAY_CREATED || find(request, about.name, &st) || !S_ISDIR(st.st_mode)) {
		reply_error(request, -ENOENT);
		return;
	}
	fill_entry(request->mirror, about.name, &st, &entry);
	reply(request, &entry, sizeof(entry));
}

static void answer_rmdir(struct request *request)
{
	struct about about = what_is_replayed(request, 0);
	struct stat st;
	bool gone = about.anything && about.what == REPLAY_DELETED && is_gone(find(request, about.name, &st));

	reply_error(request, gone ? 0 : -EBUSY);
}

static bool comes_from_us(const struct request *request)
{
	struct replay *replay = request->mirror->replay;
	bool ours;

	if (!replay || !replay->n_acts || !request->caller.tid)
		return false;
	pthread_mutex_lock(&replay->lock);
	ours = errand_of(replay, request);
	pthread_mutex_unlock(&replay->lock);
	return ours;
}

bool replay_answers(struct request *request)
{
	if (!comes_from_us(request))
		return false;
	switch (request->header->opcode) {
	case FUSE_LOOKUP:
		return answer_lookup(request);
	case FUSE_MKDIR:
		answer_mkdir(request);
		return true;
	case FUSE_RMDIR:
		answer_rmdir(request);
		return true;
	case FUSE_SETATTR:
		/* Of a control file it changes nothing anyway, and goes the usual way. */
		if (node_is_control(request->header->nodeid))
			return false;
		handle_getattr(request);
		return true;
	default:
		return false;
	}
}
