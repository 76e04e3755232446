/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cannot be mirrored is refused, and leaves nothing behind (AddressSanitizer sees to the memory). */
#include <string.h>

#include "connection.h"
#include "test.h"

TEST(mirror_of_what_is_no_cgroup2_directory_is_refused)
{
	static const struct {
		const char *source;
		int error;
	} cases[] = { { "/", -EINVAL }, { "/proc", -EINVAL }, { "/nowhere/at/all", -ENOENT }, { "/proc/self/stat", -ENOTDIR } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cgfs_mirror_options options = {
			.source = cases[i].source, .mountpoint = "/proc", .fsname = "cgfs",
		};
		struct cgfs_mirror *mirror;

		CHECK(cgfs_mirror_open(&options, &mirror) == cases[i].error);
	}
}

TEST(mirror_on_what_is_no_directory_is_refused)
{
	static const struct {
		const char *mountpoint;
		int error;
	} cases[] = { { "/nowhere/at/all", -ENOENT }, { "/proc/self/stat", -ENOTDIR } };
	struct connection connection;

	connection_create(&connection);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cgfs_mirror_options options = {
			.source = connection.source, .mountpoint = cases[i].mountpoint, .fsname = "cgfs",
		};
		struct cgfs_mirror *mirror;

		CHECK(cgfs_mirror_open(&options, &mirror) == cases[i].error);
	}
	connection_close(&connection);
}

TEST(mirror_with_more_control_files_than_a_node_id_can_tell_apart_is_refused)
{
	const char *names[128];
	const struct cgfs_mirror_options options = {
		.source = "/", .mountpoint = "/proc", .fsname = "cgfs", .control_names = names, .n_control_names = 128,
	};
	struct cgfs_mirror *mirror;

	for (int i = 0; i < 128; i++)
		names[i] = "x";
	CHECK(cgfs_mirror_open(&options, &mirror) == -EINVAL);
}
