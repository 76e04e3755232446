/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bpf(2) as cgfs uses it. Each function is one command (or one loop of them) and marshals: it decides nothing. Where not
 * said otherwise it returns 0, or a descriptor (close-on-exec), or -errno; descriptors that go in are borrowed.
 */
#ifndef CGFS_BPF_H
#define CGFS_BPF_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

/* --- attached programs ------------------------------------------------------------------------------------------ */

/*
 * Attach prog_fd to cgroup_fd; with BPF_F_REPLACE in flags, instead of the program replace_fd. Unless revision is 0:
 * -ESTALE if the programs' revision (of cgfs_prog_query) is another by now.
 */
int cgfs_prog_attach(int cgroup_fd, int prog_fd, uint32_t attach_type, uint32_t flags, int replace_fd,
		     uint64_t revision);
/* Detach prog_fd; -1, or any program, is the only program of a cgroup that has no BPF_F_ALLOW_MULTI. revision as above. */
int cgfs_prog_detach(int cgroup_fd, uint32_t attach_type, int prog_fd, uint64_t revision);

struct cgfs_query {
	uint32_t attach_flags;	/* of the cgroup's own programs; 0 in an effective query */
	uint32_t count;
	uint64_t revision;	/* changes with every change of these programs; 0 where the kernel has none (before 6.17) */
};
/* Up to capacity program ids. -ENOSPC if there are more than capacity: answer->count says how many. */
int cgfs_prog_query(int cgroup_fd, uint32_t attach_type, uint32_t query_flags, uint32_t *ids, uint32_t capacity,
		    struct cgfs_query *answer);

struct cgfs_attached {
	uint32_t id;
	uint8_t tag[BPF_TAG_SIZE];
	uint64_t loaded_at_ns;	/* on CLOCK_BOOTTIME */
};
/*
 * The same of cgroup_fd's own programs, and what each is: -ENOSPC as above, -EAGAIN if one of them was let go meanwhile.
 */
int cgfs_attached(int cgroup_fd, uint32_t attach_type, struct cgfs_attached *programs, uint32_t capacity,
		  struct cgfs_query *answer);

struct cgfs_link {
	uint32_t id;
	uint32_t prog_id;
};
/* Up to capacity links of the cgroup cgroup_id. Returns how many there are, or -errno. */
int cgfs_links(uint64_t cgroup_id, uint32_t attach_type, struct cgfs_link *links, uint32_t capacity);
int cgfs_link_detach(int link_fd);

/* --- programs, maps and links as objects ------------------------------------------------------------------------- */

enum cgfs_kind { CGFS_PROG, CGFS_MAP, CGFS_LINK };

/* The kind of object behind fd: -EBADF if it is closed, -EINVAL if it is none of these. */
int cgfs_kind_of(int fd);
int cgfs_open_id(int kind, uint32_t id);
int cgfs_open_pinned(const char *path);
int cgfs_pin(int fd, const char *path);

struct cgfs_prog_load {
	uint32_t prog_type;
	uint32_t expected_attach_type;
	const void *insns;
	size_t size;		/* bytes */
	const char *name;
	char *log;		/* what the verifier says if it refuses; may be NULL */
	uint32_t log_size;
};
int cgfs_prog_load(const struct cgfs_prog_load *load);

struct cgfs_prog_info {
	uint32_t type;
	uint32_t id;
	uint32_t created_by_uid;
	uint32_t n_maps;	/* how many there are, also if there was no room for all */
	uint64_t loaded_at_ns;	/* on CLOCK_BOOTTIME */
	uint64_t debug_size;	/* of what says where its functions and lines are; bytes */
	uint32_t btf_id;	/* 0: none */
	uint8_t tag[BPF_TAG_SIZE];
	char name[BPF_OBJ_NAME_LEN];
};
/* prog_fd is a program: the kernel takes any kind (cgfs_kind_of()). */
int cgfs_prog_info(int prog_fd, struct cgfs_prog_info *info, uint32_t *map_ids, uint32_t capacity);

/*
 * The instructions of prog_fd (borrowed) as the verifier left them, into buffer. Returns how many bytes they are, of
 * which the first capacity were written, or -errno.
 */
int cgfs_prog_instructions(int prog_fd, void *buffer, uint32_t capacity);
/* How many bytes the BTF with that id has, at most INT_MAX; or -errno. */
int cgfs_btf_size(uint32_t id);
/* Whether both are of one type, without maps, and have the same instructions: 1 or 0, or -errno. */
int cgfs_prog_does_the_same(int prog_fd, int other_fd);
int cgfs_prog_bind_map(int prog_fd, int map_fd);

struct cgfs_map_info {
	uint32_t type;
	uint32_t id;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t btf_id;	/* 0: none */
	char name[BPF_OBJ_NAME_LEN];
};
int cgfs_map_create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max_entries, uint32_t flags,
		    const char *name);
/* map_fd is a map. */
int cgfs_map_info(int map_fd, struct cgfs_map_info *info);
int cgfs_map_lookup(int map_fd, const void *key, void *value);
int cgfs_map_update(int map_fd, const void *key, const void *value, uint64_t flags);
int cgfs_map_freeze(int map_fd);

/* --- the bpf file system ------------------------------------------------------------------------------------------ */

/* 1 if fd is in a bpf file system, 0 if not. */
int cgfs_is_bpffs(int fd);
/* Mount a bpf file system whose root is the caller's, mode 0700. */
int cgfs_bpffs_mount(const char *path);

#endif
