/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings in pieces of any size give every name once, the control files last. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "test.h"

#define N_CHILDREN 300

struct listing {
	char *names[1000];
	int count, requests;
	uint64_t end;
};

static void take_entry(struct listing *listing, const struct fuse_dirent *entry)
{
	CHECK(listing->count < 1000);
	listing->names[listing->count++] = strndup(entry->name, entry->namelen);
	listing->end = entry->off;
}

/* List a directory in pieces of that size. */
static void list(struct connection *connection, uint32_t opcode, uint32_t piece, struct listing *listing)
{
	*listing = (struct listing){};
	for (;;) {
		struct fuse_read_in in = { .offset = listing->end, .size = piece };
		const struct answer *answer = connection_ask(connection, opcode, 1, &in, sizeof(in), NULL, 0);
		size_t at = 0;

		CHECK(answer->error == 0 && answer->size <= piece);
		if (!answer->size)
			return;
		listing->requests++;
		while (at < answer->size) {
			const struct fuse_direntplus *plus = (const struct fuse_direntplus *)(answer->data + at);
			const struct fuse_dirent *entry = (const struct fuse_dirent *)plus;

			if (opcode == FUSE_READDIRPLUS) {
				entry = &plus->dirent;
				CHECK(!plus->entry_out.nodeid || plus->entry_out.attr.ino == entry->ino);
				at += FUSE_DIRENTPLUS_SIZE(plus);
			} else {
				at += FUSE_DIRENT_SIZE(entry);
			}
			take_entry(listing, entry);
		}
		CHECK(at == answer->size);
	}
}

static void listing_free(struct listing *listing)
{
	for (int i = 0; i < listing->count; i++)
		free(listing->names[i]);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_is_native_plus_control_files(struct connection *connection, struct listing *listing)
{
	DIR *directory = opendir(connection->source);
	const struct dirent *entry;
	int native = 0;

	CHECK(directory && listing->count > 2);
	CHECK(strcmp(listing->names[listing->count - 2], control_names[0]) == 0);
	CHECK(strcmp(listing->names[listing->count - 1], control_names[1]) == 0);
	qsort(listing->names, listing->count, sizeof(char *), compare_names);
	for (int i = 1; i < listing->count; i++)
		CHECK(strcmp(listing->names[i - 1], listing->names[i]) != 0);
	while ((entry = readdir(directory))) {
		const char *name = entry->d_name;

		CHECK(bsearch(&name, listing->names, listing->count, sizeof(char *), compare_names));
		native++;
	}
	closedir(directory);
	CHECK(native == listing->count - 2);
}

static void make_children(struct connection *connection, int count, int name_length)
{
	for (int i = 0; i < count; i++) {
		char path[1024];

		snprintf(path, sizeof(path), "%s/%0*d", connection->source, name_length, i);
		CHECK(mkdir(path, 0755) == 0);
	}
}

TEST(listing_in_pieces_gives_every_name_once)
{
	const uint32_t opcodes[] = { FUSE_READDIR, FUSE_READDIRPLUS }, pieces[] = { 200, 512, 4096, 65536, 1 << 20 };
	struct connection connection;
	struct listing listing;

	connection_open(&connection);
	make_children(&connection, N_CHILDREN, 8);
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 5; k++) {
			list(&connection, opcodes[i], pieces[k], &listing);
			CHECK(pieces[k] > 4096 || listing.requests > 1);
			check_is_native_plus_control_files(&connection, &listing);
			listing_free(&listing);
		}
	}
	connection_close(&connection);
}

TEST(listing_without_room_for_one_entry_is_invalid)
{
	struct fuse_read_in in = { .size = 16 };
	struct connection connection;

	connection_open(&connection);
	CHECK(connection_ask(&connection, FUSE_READDIR, 1, &in, sizeof(in), NULL, 0)->error == -EINVAL);
	in.size = 0;
	CHECK(connection_ask(&connection, FUSE_READDIRPLUS, 1, &in, sizeof(in), NULL, 0)->error == -EINVAL);
	connection_close(&connection);
}

TEST(listing_from_beyond_the_end_is_empty)
{
	const uint64_t offsets[] = { (uint64_t)INT_MAX + 2, (uint64_t)INT_MAX + 3, 1ull << 40, ~0ull };
	struct connection connection;

	connection_open(&connection);
	for (int i = 0; i < 4; i++) {
		struct fuse_read_in in = { .offset = offsets[i], .size = 4096 };
		const struct answer *answer = connection_ask(&connection, FUSE_READDIR, 1, &in, sizeof(in), NULL, 0);

		CHECK(answer->error == 0 && answer->size == 0);
	}
	connection_close(&connection);
}

TEST(listing_of_a_removed_directory_finds_nothing)
{
	struct fuse_read_in in = { .size = 4096 };
	struct connection connection;

	connection_open(&connection);
	CHECK(connection_ask(&connection, FUSE_READDIR, 1ull << 50, &in, sizeof(in), NULL, 0)->error == -ENOENT);
	connection_close(&connection);
}
