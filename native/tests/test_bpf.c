// SPDX-License-Identifier: GPL-2.0-or-later
/* bpf.c and object.c, under the sanitizers: buffers that are just large enough, and what is left after errors. */
#include "bpf.h"
#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static const struct bpf_insn allow[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
	{ .code = BPF_JMP | BPF_EXIT },
};
static const struct bpf_insn bad[] = {
	{ .code = BPF_JMP | BPF_EXIT },
};

static int load(const struct bpf_insn *insns, size_t size, char *log, uint32_t log_size)
{
	struct cgfs_prog_load load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
		.insns = insns,
		.size = size,
		.name = "a_name_of_more_than_15_characters",
		.log = log,
		.log_size = log_size,
	};

	return cgfs_prog_load(&load);
}

TEST(bpf_a_program_is_loaded_described_and_closed_on_exec)
{
	struct cgfs_prog_info info;
	uint32_t map_id = 0;
	int fd = load(allow, sizeof(allow), NULL, 0);

	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(cgfs_kind_of(fd) == CGFS_PROG);
	CHECK(cgfs_prog_info(fd, &info, NULL, 0) == 0);
	CHECK(info.type == BPF_PROG_TYPE_CGROUP_SKB && info.n_maps == 0);
	CHECK(!strcmp(info.name, "a_name_of_more_"));

	int map_fd = cgfs_map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0, "another_name_that_is_long");
	CHECK(map_fd >= 0);
	CHECK(cgfs_prog_bind_map(fd, map_fd) == 0);
	CHECK(cgfs_prog_info(fd, &info, NULL, 0) == 0 && info.n_maps == 1);
	CHECK(cgfs_prog_info(fd, &info, &map_id, 1) == 0 && info.n_maps == 1);
	struct cgfs_map_info map;
	CHECK(cgfs_map_info(map_fd, &map) == 0 && map.id == map_id);
	CHECK(!strcmp(map.name, "another_name_th"));
	close(map_fd);
	close(fd);
	CHECK(cgfs_kind_of(fd) == -EBADF);
}

TEST(bpf_programs_without_maps_are_compared_by_their_instructions)
{
	static const struct bpf_insn deny[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int one = load(allow, sizeof(allow), NULL, 0), same = load(allow, sizeof(allow), NULL, 0);
	int other = load(deny, sizeof(deny), NULL, 0);
	int map_fd = cgfs_map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0, "m");

	CHECK(cgfs_prog_does_the_same(one, same) == 1 && cgfs_prog_does_the_same(one, one) == 1);
	CHECK(cgfs_prog_does_the_same(one, other) == 0);
	CHECK(cgfs_prog_does_the_same(one, -1) < 0 && cgfs_prog_does_the_same(-1, one) < 0);
	CHECK(cgfs_prog_bind_map(same, map_fd) == 0);
	CHECK(cgfs_prog_does_the_same(one, same) == 0 && cgfs_prog_does_the_same(same, one) == 0);
	close(map_fd);
	close(other);
	close(same);
	close(one);
}

TEST(bpf_a_refused_program_says_why_in_the_room_there_is)
{
	char log[4096] = "", small[8] = "";

	CHECK(load(bad, sizeof(bad), log, sizeof(log)) == -EACCES);
	CHECK(strstr(log, "R0 !read_ok"));
	CHECK(load(bad, sizeof(bad), small, sizeof(small)) == -EACCES);
	CHECK(memchr(small, '\0', sizeof(small)));
	CHECK(load(bad, sizeof(bad), NULL, 0) == -EACCES);
}

TEST(bpf_the_kind_of_what_is_none_of_ours_is_einval)
{
	int ends[2];

	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	CHECK(cgfs_kind_of(ends[0]) == -EINVAL);
	CHECK(cgfs_kind_of(-1) == -EBADF);
	CHECK(cgfs_open_id(3, 1) == -EINVAL);
	close(ends[0]);
	close(ends[1]);
}

TEST(bpf_map_elements_fill_their_buffers_exactly)
{
	uint32_t key = 7;
	char value[3] = "abc", read[3];
	int fd = cgfs_map_create(BPF_MAP_TYPE_HASH, sizeof(key), sizeof(value), 1, 0, "m");

	CHECK(fd >= 0);
	CHECK(cgfs_map_lookup(fd, &key, read) == -ENOENT);
	CHECK(cgfs_map_update(fd, &key, value, BPF_ANY) == 0);
	CHECK(cgfs_map_lookup(fd, &key, read) == 0 && !memcmp(read, value, sizeof(value)));
	CHECK(cgfs_map_freeze(fd) == 0);
	CHECK(cgfs_map_update(fd, &key, value, BPF_ANY) == -EPERM);
	close(fd);
}

TEST(bpf_what_is_no_object_leaves_a_reason_and_nothing_else)
{
	static const char texts[][32] = { "", "no object", "\177ELF", "\177ELF\2\1\1" };
	struct cgfs_object *object;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CHECK(cgfs_object_open(texts[i], i ? sizeof(texts[i]) : 0, "name", &object) < 0);
		CHECK(object);
		CHECK(i == 0 || *cgfs_object_log(object));
		cgfs_object_close(object);
	}
	cgfs_object_close(NULL);
}
