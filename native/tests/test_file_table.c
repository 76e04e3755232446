/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File handles: what they stand for, and that one which stands for nothing is told apart. */
#include "mirror/files.h"

#include <fcntl.h>

#include "test.h"

static int some_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int add(struct cgfs_mirror *mirror, int fd, uint64_t node, bool backed, uint64_t *handle)
{
	const struct fuse_in_header header = { .nodeid = node };
	const struct request request = { .mirror = mirror, .header = &header };

	return file_add(&request, fd, backed, handle);
}

static void create(struct cgfs_mirror *mirror)
{
	*mirror = (struct cgfs_mirror){};
	CHECK(!file_table_create(mirror) && !descriptors_create(mirror));
}

static void destroy(struct cgfs_mirror *mirror)
{
	file_table_destroy(mirror);
	descriptors_destroy(mirror);
}

TEST(file_handle_stands_for_its_file_until_it_is_removed)
{
	struct cgfs_mirror mirror;
	uint64_t handle, again;
	struct open_file *file, *removed;
	int fd = some_fd();

	create(&mirror);
	CHECK(!add(&mirror, fd, 77, true, &handle));
	CHECK(handle != 0);
	file = file_get(&mirror, 77, handle);
	CHECK(file && file->fd == fd && file->node == 77 && file->backed);
	CHECK(!file_get(&mirror, 78, handle));

	removed = file_remove(&mirror, handle);
	CHECK(removed == file && !file_get(&mirror, 77, handle) && !file_remove(&mirror, handle));
	file_put(removed);
	CHECK(is_open(fd));
	file_put(file);
	CHECK(!is_open(fd));

	/* The same place, another handle. */
	CHECK(!add(&mirror, some_fd(), 78, false, &again));
	CHECK((uint32_t)again == (uint32_t)handle && again != handle && !file_get(&mirror, 78, handle));
	destroy(&mirror);
}

TEST(file_handles_that_were_never_given_stand_for_nothing)
{
	static const uint64_t handles[] = { 0, 1, 1ull << 32 | 1, 2ull << 32, UINT64_MAX, UINT32_MAX };
	struct cgfs_mirror mirror;
	uint64_t handle;

	create(&mirror);
	CHECK(!file_get(&mirror, 1, 1ull << 32));
	CHECK(!add(&mirror, some_fd(), 1, false, &handle));
	for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
		CHECK(!file_get(&mirror, 1, handles[i]) && !file_remove(&mirror, handles[i]));
	destroy(&mirror);
}

TEST(file_table_grows_and_closes_what_is_left)
{
	struct cgfs_mirror mirror;
	uint64_t handles[300];
	int fds[300];

	create(&mirror);
	for (unsigned int i = 0; i < 300; i++) {
		fds[i] = some_fd();
		CHECK(!add(&mirror, fds[i], i, false, &handles[i]));
	}
	for (unsigned int i = 0; i < 300; i++) {
		struct open_file *file = file_get(&mirror, i, handles[i]);

		CHECK(file && file->node == i && file->fd == fds[i]);
		file_put(file);
	}
	destroy(&mirror);
	for (unsigned int i = 0; i < 300; i++)
		CHECK(!is_open(fds[i]));
}
