/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known here of control files, so that whoever decides about them need not be asked:
 *
 * - What the untouched ones are and say, with nothing attached and no note of anything. It was told at the start (struct
 *   cgfs_untouched). Nearly all are like that, and a walk over a tree asks for three of them in each directory.
 * - What has been answered before, where that is lasting: for as long as nothing that it was made of has changed. That is
 *   what is attached, of which the kernel counts the changes (the revision), what is noted, and who owns
 *   cgroup.controllers.
 *
 * What is attached is looked at each time. So is the rest, but that there are no notes, and the owner: they are as they were
 * found while no attributes are counted as changed (watch_counts()).
 *
 * The last answers have their places by node, one each: a new one takes the place of whatever is there. So have the last
 * directories.
 */
#include "control_known.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "../bpf.h"
#include "hash.h"
#include "watch.h"

#define PLACE_BITS 12
#define PLACES (1u << PLACE_BITS)
#define MOST_BYTES (8u << 20)	/* of contents in them; one that is in several places is counted in each */
_Static_assert(MAX_IO <= MOST_BYTES, "each content has a place");
#define NS_PER_S 1000000000ull

struct answer {
	struct state *state;		/* NULL: there is none */
	struct fuse_attr attr;
	struct content *content;
};

/* The owner, and where no notes are, as they were found in a directory when so much had been counted. */
struct found {
	uint64_t directory;		/* 0: nothing */
	uint64_t attributes;
	struct owner owner;
	uint64_t noteless;		/* a bit for each of the first control files: there are no notes about it */
};
#define N_NOTELESS 64
#define DIRECTORY_BITS 14

struct known {
	pthread_mutex_t lock;		/* guards the rest; taken before no other but that of the contents */
	struct found found[1 << DIRECTORY_BITS];
	struct answer places[PLACES];
	size_t n_bytes;
};

/* --- what answers are made of ------------------------------------------------------------------------------------------ */

/*
 * The notes that the directory has about that control file, each with its length before it; one that is missing has none. If
 * there are none, as is known, nothing is looked at.
 * Each is asked for by its name: to list a directory's attributes makes kernfs give it attributes, and new times
 * (kernfs_iop_listxattr). Returns false if it cannot be found out, or is too long.
 */
static bool read_notes(const struct cgfs_untouched *untouched, int dir, size_t index, bool none, struct state *state)
{
	const char *const *names = untouched->note_names + index * untouched->n_notes;

	for (size_t i = 0; i < untouched->n_notes; i++) {
		ssize_t room = (ssize_t)(sizeof(state->notes) - state->notes_size - sizeof(ssize_t));
		ssize_t length = none ? -1 : fgetxattr(dir, names[i], NULL, 0);	/* nearly always there is none */

		if (room < 0)
			return false;
		if (length > 0 && length <= room)
			length = fgetxattr(dir, names[i], state->notes + state->notes_size + sizeof(length), (size_t)room);
		if (length == 0 || length > room || (length < 0 && !none && errno != ENODATA))
			return false;
		state->has_notes |= length > 0;
		memcpy(state->notes + state->notes_size, &length, sizeof(length));
		state->notes_size += sizeof(length) + (length > 0 ? (size_t)length : 0);
	}
	return true;
}

/* What is attached. Without a revision, which older kernels do not have, only that nothing is means anything. */
static void read_attached(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct state *state)
{
	struct cgfs_query query = {};

	state->node = node;
	state->notes_size = state->revision = 0;
	state->has_notes = state->is_complete = state->nothing_attached = false;
	if (dir < 0 || !mirror->untouched.content || !mirror->control_attach_types)
		return;
	if (cgfs_prog_query(dir, mirror->control_attach_types[node_control_index(node)], 0, NULL, 0, &query))
		return;
	state->nothing_attached = !query.count;
	state->revision = query.revision;
}

static bool read_owner(int dir, struct owner *owner)
{
	struct stat st;

	if (fstatat(dir, "cgroup.controllers", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	*owner = (struct owner){.uid = st.st_uid, .gid = st.st_gid, .since = st.st_ctim};
	return true;
}

/* What was found in that directory, and is so. If nothing is known, the count is for what is found next. */
static struct found recall(const struct cgfs_mirror *mirror, uint64_t directory)
{
	struct known *known = mirror->known;
	bool has_counted = watch_has_counted(mirror);
	struct found found = {.attributes = watch_counts(mirror).attributes};
	const struct found *place = &known->found[hash_id(directory, DIRECTORY_BITS)];

	pthread_mutex_lock(&known->lock);
	if (has_counted && place->directory == directory && place->attributes == found.attributes)
		found = *place;
	pthread_mutex_unlock(&known->lock);
	return found;
}

static void remember(struct known *known, const struct found *found)
{
	pthread_mutex_lock(&known->lock);
	known->found[hash_id(found->directory, DIRECTORY_BITS)] = *found;
	pthread_mutex_unlock(&known->lock);
}

/* What the revision does not tell of. */
static void read_owner_and_notes(const struct cgfs_mirror *mirror, int dir, struct state *state)
{
	uint64_t directory = state->node & NODE_ID_MASK;
	size_t index = node_control_index(state->node);
	uint64_t bit = index < N_NOTELESS ? 1ull << index : 0, noteless;
	struct found found;

	if (!state->revision)
		return;
	found = recall(mirror, directory);
	noteless = found.noteless & bit;
	if (!found.directory && !read_owner(dir, &found.owner))
		return;
	if (!read_notes(&mirror->untouched, dir, index, noteless, state))
		return;
	state->owner = found.owner;
	state->is_complete = true;
	if (found.directory && (noteless || state->has_notes))
		return;
	found.directory = directory;
	if (!state->has_notes)
		found.noteless |= bit;
	remember(mirror->known, &found);
}

static bool is_same(const struct state *one, const struct state *other)
{
	return one->node == other->node && one->revision == other->revision && one->owner.uid == other->owner.uid &&
	       one->owner.gid == other->owner.gid && one->owner.since.tv_sec == other->owner.since.tv_sec &&
	       one->owner.since.tv_nsec == other->owner.since.tv_nsec &&
	       one->notes_size == other->notes_size && memcmp(one->notes, other->notes, one->notes_size) == 0;
}

/* --- the places: lock held -------------------------------------------------------------------------------------------- */

static struct answer *place_of(struct known *known, uint64_t node)
{
	return &known->places[hash_id(node, PLACE_BITS)];
}

static void forget(struct known *known, struct answer *answer)
{
	if (!answer->state)
		return;
	known->n_bytes -= answer->content->size;
	content_put(answer->content);
	free(answer->state);
	*answer = (struct answer){};
}

/* The one that is made of that state, or NULL. */
static const struct answer *find(struct known *known, const struct state *state)
{
	const struct answer *answer = place_of(known, state->node);

	return answer->state && is_same(answer->state, state) ? answer : NULL;
}

/* --- attributes -------------------------------------------------------------------------------------------------------- */

struct fuse_attr control_attributes(uint64_t node, const struct cgfs_control_snapshot *snapshot, size_t size)
{
	struct fuse_attr attr = {
		.ino = node,
		.size = size,
		.mode = S_IFREG | snapshot->mode,
		.nlink = 1,
		.uid = snapshot->uid,
		.gid = snapshot->gid,
		.blksize = 4096,
	};

	attr.atime = attr.mtime = snapshot->modified_ns / NS_PER_S;
	attr.atimensec = attr.mtimensec = (uint32_t)(snapshot->modified_ns % NS_PER_S);
	attr.ctime = snapshot->changed_ns / NS_PER_S;
	attr.ctimensec = (uint32_t)(snapshot->changed_ns % NS_PER_S);
	return attr;
}

/* Owner and group are those of cgroup.controllers; the times are as State.changed_at_ns in cgfs/attached.py has them. */
static struct fuse_attr untouched_attributes(const struct cgfs_untouched *untouched, const struct state *state)
{
	uint64_t modified_ns = (uint64_t)untouched->time_s * NS_PER_S + state->revision % NS_PER_S;
	const struct cgfs_control_snapshot snapshot = {
		.uid = state->owner.uid,
		.gid = state->owner.gid,
		.mode = untouched->mode,
		.modified_ns = modified_ns,
		.changed_ns = modified_ns,
	};

	return control_attributes(state->node, &snapshot, strlen(untouched->content));
}

bool known_attributes(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct state *state, struct fuse_attr *attr)
{
	struct known *known = mirror->known;
	const struct answer *answer;

	read_attached(mirror, dir, node, state);
	read_owner_and_notes(mirror, dir, state);
	if (!state->is_complete)
		return false;
	if (state->nothing_attached && !state->has_notes) {
		*attr = untouched_attributes(&mirror->untouched, state);
		return true;
	}
	pthread_mutex_lock(&known->lock);
	answer = find(known, state);
	if (answer)
		*attr = answer->attr;
	pthread_mutex_unlock(&known->lock);
	return answer;
}

struct fuse_entry_out control_entry(uint64_t node)
{
	return (struct fuse_entry_out){.nodeid = node, .entry_valid = CACHE_SECONDS};
}

bool known_entry(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct fuse_entry_out *entry)
{
	struct state state;

	*entry = control_entry(node);
	return known_attributes(mirror, dir, node, &state, &entry->attr);
}

/* --- contents --------------------------------------------------------------------------------------------------------- */

struct content *known_content(const struct cgfs_mirror *mirror, int dir, uint64_t node, struct state *state)
{
	struct known *known = mirror->known;
	const char *untouched = mirror->untouched.content;
	struct content *content = NULL;
	const struct answer *answer;

	read_attached(mirror, dir, node, state);
	if (state->nothing_attached)
		return content_get(mirror->contents, untouched, strlen(untouched));
	read_owner_and_notes(mirror, dir, state);
	if (!state->is_complete)
		return NULL;
	pthread_mutex_lock(&known->lock);
	answer = find(known, state);
	if (answer)
		content = content_share(answer->content);
	pthread_mutex_unlock(&known->lock);
	return content;
}

/* --- both ------------------------------------------------------------------------------------------------------------- */

void know(const struct cgfs_mirror *mirror, const struct state *state, const struct fuse_attr *attr, struct content *content)
{
	struct known *known = mirror->known;
	struct answer *place = place_of(known, state->node);
	size_t size = offsetof(struct state, notes) + state->notes_size;
	struct state *copy = state->is_complete ? malloc(size) : NULL;

	if (!copy)
		return;
	memcpy(copy, state, size);
	pthread_mutex_lock(&known->lock);
	forget(known, place);
	for (size_t i = 0; i < PLACES && known->n_bytes + content->size > MOST_BYTES; i++)
		forget(known, &known->places[i]);
	*place = (struct answer){.state = copy, .attr = *attr, .content = content_share(content)};
	known->n_bytes += content->size;
	pthread_mutex_unlock(&known->lock);
}

/* --- the whole -------------------------------------------------------------------------------------------------------- */

int known_create(struct cgfs_mirror *mirror)
{
	mirror->known = calloc(1, sizeof(*mirror->known));
	if (!mirror->known)
		return -ENOMEM;
	pthread_mutex_init(&mirror->known->lock, NULL);
	return 0;
}

void known_destroy(struct cgfs_mirror *mirror)
{
	struct known *known = mirror->known;

	if (!known)
		return;
	for (size_t i = 0; i < PLACES; i++)
		forget(known, &known->places[i]);
	pthread_mutex_destroy(&known->lock);
	free(known);
	mirror->known = NULL;
}
