/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mirror asks each kernel for what it offers, and no more. */
#include <string.h>

#include "connection.h"
#include "test.h"

struct offer {
	uint32_t major, minor;
	uint64_t flags;
	bool passthrough;	/* asked of the mirror */
};

/* What the mirror makes of an offer; in answer what it replies. */
static int negotiate(const struct offer *offer, struct mirror_init_out *out, bool *granted)
{
	const struct fuse_init_in in = {
		.major = offer->major, .minor = offer->minor,
		.flags = (uint32_t)offer->flags, .flags2 = (uint32_t)(offer->flags >> 32),
	};
	struct connection connection;
	int error;

	connection_create(&connection);
	connection_send(&connection, FUSE_INIT, 0, &in, sizeof(in), NULL, 0);
	error = mirror_negotiate(connection.mirror, offer->passthrough);
	if (!error)
		*out = connection_receive(&connection)->init;
	*granted = connection.mirror->passthrough;
	connection_close(&connection);
	return error;
}

TEST(negotiation_with_a_new_kernel_gives_passthrough)
{
	const struct offer offer = { 7, 45, ~0ull, true };
	struct mirror_init_out out;
	bool granted;

	CHECK(negotiate(&offer, &out, &granted) == 0 && granted);
	CHECK(out.major == 7 && out.minor == 40 && out.max_stack_depth == 1 && out.max_write == MAX_IO);
	CHECK(out.flags & FUSE_INIT_EXT && out.flags2 == FUSE_PASSTHROUGH >> 32);
	CHECK(!(out.flags & (FUSE_EXPORT_SUPPORT | FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS)));
}

TEST(negotiation_does_without_passthrough)
{
	const struct offer offers[] = {
		{ 7, 45, ~0ull, false },
		{ 7, 38, ~FUSE_PASSTHROUGH, true },
		{ 7, 36, (uint32_t)~FUSE_INIT_EXT | FUSE_PASSTHROUGH, true },	/* rubbish behind the old structure */
	};
	struct mirror_init_out out;
	bool granted;

	for (int i = 0; i < 3; i++) {
		CHECK(negotiate(&offers[i], &out, &granted) == 0 && !granted);
		CHECK(out.minor <= offers[i].minor && out.max_stack_depth == 0 && out.flags2 == 0);
	}
}

TEST(negotiation_with_what_is_no_kernel_of_ours_fails)
{
	const struct offer offers[] = { { 6, 40, ~0ull, true }, { 8, 0, ~0ull, true }, { 7, 35, ~0ull, true } };
	struct mirror_init_out out;
	struct connection connection;
	bool granted;

	for (int i = 0; i < 3; i++)
		CHECK(negotiate(&offers[i], &out, &granted) == -EPROTONOSUPPORT);
	connection_create(&connection);
	connection_send(&connection, FUSE_STATFS, 1, NULL, 0, NULL, 0);
	CHECK(mirror_negotiate(connection.mirror, true) == -EPROTONOSUPPORT);
	connection_close(&connection);
}
