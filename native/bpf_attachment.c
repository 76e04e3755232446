// SPDX-License-Identifier: GPL-2.0-or-later
/* What is attached to a cgroup, by bpf(2). Sources: include/uapi/linux/bpf.h, kernel/bpf/cgroup.c. */
#include <stdbool.h>
#include <stdlib.h>

#include "bpf.h"
#include "bpf_call.h"

/*
 * BPF_PROG_QUERY as Linux 6.6 has it: Debian 12's header ends at prog_attach_flags. Kernels that are older take the
 * zeros behind what they know.
 */
struct query_attr {
	uint32_t target_fd;
	uint32_t attach_type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t prog_ids;
	uint32_t count;
	uint32_t unused;
	uint64_t prog_attach_flags;
	uint64_t link_ids;
	uint64_t link_attach_flags;
	uint64_t revision;
};
_Static_assert(sizeof(struct query_attr) == 64, "bpf_attr.query of Linux 6.6");

/* BPF_PROG_ATTACH and BPF_PROG_DETACH as Linux 6.6 has them. The same holds; cgroups have revisions since Linux 6.17. */
struct attach_attr {
	uint32_t target_fd;
	uint32_t attach_bpf_fd;
	uint32_t attach_type;
	uint32_t attach_flags;
	uint32_t replace_bpf_fd;
	uint32_t relative_fd;
	uint64_t expected_revision;
};
_Static_assert(sizeof(struct attach_attr) == 32, "the attributes of BPF_PROG_ATTACH of Linux 6.6");

int cgfs_prog_attach(int cgroup_fd, int prog_fd, uint32_t attach_type, uint32_t flags, int replace_fd,
		     uint64_t revision)
{
	struct attach_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = cgroup_fd;
	attr.attach_bpf_fd = prog_fd;
	attr.attach_type = attach_type;
	attr.attach_flags = flags;
	if (flags & BPF_F_REPLACE)
		attr.replace_bpf_fd = replace_fd;
	attr.expected_revision = revision;
	return sys_bpf(BPF_PROG_ATTACH, &attr, sizeof(attr));
}

int cgfs_prog_detach(int cgroup_fd, uint32_t attach_type, int prog_fd, uint64_t revision)
{
	struct attach_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = cgroup_fd;
	attr.attach_bpf_fd = prog_fd;
	attr.attach_type = attach_type;
	attr.expected_revision = revision;
	return sys_bpf(BPF_PROG_DETACH, &attr, sizeof(attr));
}

int cgfs_prog_query(int cgroup_fd, uint32_t attach_type, uint32_t query_flags, uint32_t *ids, uint32_t capacity,
		    struct cgfs_query *answer)
{
	struct query_attr attr;
	int result;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = cgroup_fd;
	attr.attach_type = attach_type;
	attr.query_flags = query_flags;
	attr.prog_ids = address(ids);
	attr.count = capacity;
	result = sys_bpf(BPF_PROG_QUERY, &attr, sizeof(attr));
	answer->attach_flags = attr.attach_flags;
	answer->count = attr.count;
	answer->revision = attr.revision;
	return result;
}

/* What the kernel says of the object of that kind with that id. */
static int info_of_id(int kind, uint32_t id, void *info, uint32_t size)
{
	int fd = cgfs_open_id(kind, id);
	int result;

	if (fd < 0)
		return fd;
	memset(info, 0, size);
	result = object_info(fd, info, size);
	close(fd);
	return result;
}

/* One of the programs that a query named: -ENOENT if it is no more. */
static int describe_attached(struct cgfs_attached *program)
{
	struct bpf_prog_info info;
	int result = info_of_id(CGFS_PROG, program->id, &info, sizeof(info));

	if (result < 0)
		return result;
	program->loaded_at_ns = info.load_time;
	memcpy(program->tag, info.tag, sizeof(program->tag));
	return 0;
}

int cgfs_attached(int cgroup_fd, uint32_t attach_type, struct cgfs_attached *programs, uint32_t capacity,
		  struct cgfs_query *answer)
{
	uint32_t *ids = calloc(capacity, sizeof(*ids));
	int result;

	if (!ids)
		return -ENOMEM;
	result = cgfs_prog_query(cgroup_fd, attach_type, 0, ids, capacity, answer);
	for (uint32_t i = 0; result == 0 && i < answer->count; i++) {
		programs[i].id = ids[i];
		result = describe_attached(&programs[i]);
		if (result == -ENOENT)
			result = -EAGAIN;
	}
	free(ids);
	return result;
}

/* The next id after *id of a kind, by its command. */
static int next_id(int command, uint32_t *id)
{
	union bpf_attr attr;
	int result;

	memset(&attr, 0, sizeof(attr));
	attr.start_id = *id;
	result = sys_bpf(command, &attr, sizeof(attr));
	*id = attr.next_id;
	return result;
}

int cgfs_links(uint64_t cgroup_id, uint32_t attach_type, struct cgfs_link *links, uint32_t capacity)
{
	struct bpf_link_info info;
	uint32_t count = 0, id = 0;
	int result;

	while ((result = next_id(BPF_LINK_GET_NEXT_ID, &id)) == 0) {
		result = info_of_id(CGFS_LINK, id, &info, sizeof(info));
		if (result == -ENOENT || result == -EAGAIN)
			continue;	/* gone, or not yet there (bpf_link_by_id()) */
		if (result < 0)
			return result;
		if (info.type != BPF_LINK_TYPE_CGROUP || info.cgroup.cgroup_id != cgroup_id ||
		    info.cgroup.attach_type != attach_type)
			continue;
		if (count < capacity)
			links[count] = (struct cgfs_link){ .id = info.id, .prog_id = info.prog_id };
		count++;
	}
	return result == -ENOENT ? (int)count : result;
}

int cgfs_link_detach(int link_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_detach.link_fd = link_fd;
	return sys_bpf(BPF_LINK_DETACH, &attr, sizeof(attr));
}
