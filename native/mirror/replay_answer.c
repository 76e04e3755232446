/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests that a replay makes itself, known by the thread they come from. They are answered so that the event is
 * raised (replay.c says why that is safe), and cgroup2 is only looked at.
 */
#include <fcntl.h>
#include <string.h>

#include "replay.h"

/* Whether cgroup2 has that directory. */
static bool find(const struct request *request, const char *name, struct stat *st)
{
	CLEANUP_FD int dir = node_open_path(request->mirror, request->header->nodeid);

	return dir >= 0 && fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool answer_lookup(struct request *request, const struct act *act)
{
	struct fuse_entry_out entry = {.nodeid = act->child};
	struct stat st;

	if (act->what == REPLAY_CREATED) {
		reply_error(request, -ENOENT);
		return true;
	}
	if (!act->child || find(request, act->name, &st))
		return false;
	/* For this one rmdir only: nothing of it is kept. */
	entry.attr = (struct fuse_attr){.ino = act->child, .mode = S_IFDIR | 0755, .nlink = 2};
	reply(request, &entry, sizeof(entry));
	return true;
}

static void answer_mkdir(struct request *request, const struct act *act)
{
	struct fuse_entry_out entry;
	struct stat st;

	if (act->what != REPLAY_CREATED || !find(request, act->name, &st) || !S_ISDIR(st.st_mode)) {
		reply_error(request, -ENOENT);
		return;
	}
	fill_entry(request->mirror, act->name, &st, &entry);
	reply(request, &entry, sizeof(entry));
}

static void answer_rmdir(struct request *request, const struct act *act)
{
	struct stat st;

	reply_error(request, act->what != REPLAY_DELETED || find(request, act->name, &st) ? -EBUSY : 0);
}

/* Whether the request is about the name that is being replayed. */
static bool is_about(const struct request *request, const struct act *act, size_t offset)
{
	const char *name;

	return act && act->name && request->header->nodeid == act->node && !request_name(request, offset, &name) &&
	       strcmp(name, act->name) == 0;
}

bool replay_answers(struct request *request)
{
	struct replay *replay = request->mirror->replay;
	const struct act *act;

	if (!replay || !request->header->pid || request->header->pid != atomic_load(&replay->tid))
		return false;
	act = atomic_load(&replay->current);
	switch (request->header->opcode) {
	case FUSE_LOOKUP:
		return is_about(request, act, 0) && answer_lookup(request, act);
	case FUSE_MKDIR:
		if (is_about(request, act, sizeof(struct fuse_mkdir_in)))
			answer_mkdir(request, act);
		else
			reply_error(request, -ENOENT);
		return true;
	case FUSE_RMDIR:
		if (is_about(request, act, 0))
			answer_rmdir(request, act);
		else
			reply_error(request, -EBUSY);
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
