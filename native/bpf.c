// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Programs, maps and links as objects, by bpf(2); what is attached to a cgroup is in bpf_attachment.c. Sources:
 * include/uapi/linux/bpf.h, kernel/bpf/syscall.c.
 */
#include "bpf.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "bpf_call.h"

/* BPF_OBJ_GET_INFO_BY_FD takes all kinds and does not say which it was; the name of the anonymous inode does. */
int cgfs_kind_of(int fd)
{
	static const char *const names[] = {
		[CGFS_PROG] = "anon_inode:bpf-prog",
		[CGFS_MAP] = "anon_inode:bpf-map",
		[CGFS_LINK] = "anon_inode:bpf_link",
	};
	char path[40], name[32];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	length = readlink(path, name, sizeof(name) - 1);
	if (length < 0)
		return errno == ENOENT ? -EBADF : -errno;
	name[length] = '\0';
	for (int kind = CGFS_PROG; kind <= CGFS_LINK; kind++)
		if (!strcmp(name, names[kind]))
			return kind;
	return -EINVAL;
}

int cgfs_open_id(int kind, uint32_t id)
{
	static const int commands[] = {
		[CGFS_PROG] = BPF_PROG_GET_FD_BY_ID,
		[CGFS_MAP] = BPF_MAP_GET_FD_BY_ID,
		[CGFS_LINK] = BPF_LINK_GET_FD_BY_ID,
	};
	union bpf_attr attr;

	if (kind < CGFS_PROG || kind > CGFS_LINK)
		return -EINVAL;
	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	return sys_bpf(commands[kind], &attr, sizeof(attr));
}

int cgfs_open_pinned(const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = address(path);
	return sys_bpf(BPF_OBJ_GET, &attr, sizeof(attr));
}

int cgfs_pin(int fd, const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.bpf_fd = fd;
	attr.pathname = address(path);
	return sys_bpf(BPF_OBJ_PIN, &attr, sizeof(attr));
}

int cgfs_prog_load(const struct cgfs_prog_load *load)
{
	union bpf_attr attr;
	int result;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = load->prog_type;
	attr.expected_attach_type = load->expected_attach_type;
	attr.insns = address(load->insns);
	attr.insn_cnt = load->size / sizeof(struct bpf_insn);
	attr.license = address("GPL");
	strncpy(attr.prog_name, load->name, sizeof(attr.prog_name) - 1);
	result = sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (result >= 0 || !load->log)
		return result;
	/* Once more, for the reason only: a log that is too small would be an error of its own. */
	attr.log_buf = address(load->log);
	attr.log_size = load->log_size;
	attr.log_level = 1;
	int again = sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	return again >= 0 ? again : result;
}

int cgfs_prog_instructions(int prog_fd, void *buffer, uint32_t capacity)
{
	struct bpf_prog_info info;
	int result;

	memset(&info, 0, sizeof(info));
	info.xlated_prog_len = capacity;
	info.xlated_prog_insns = address(buffer);
	result = object_info(prog_fd, &info, sizeof(info));
	return result < 0 ? result : (int)info.xlated_prog_len;
}

/* The instructions of a program without maps, which the caller frees; NULL for one with maps. */
static int instructions_without_maps(int prog_fd, void **insns, uint32_t *size, uint32_t *type)
{
	struct bpf_prog_info info;
	int result;

	*insns = NULL;
	memset(&info, 0, sizeof(info));
	result = object_info(prog_fd, &info, sizeof(info));
	if (result < 0 || info.nr_map_ids || !info.xlated_prog_len)
		return result;
	*type = info.type;
	*size = info.xlated_prog_len;
	*insns = malloc(*size);
	if (!*insns)
		return -ENOMEM;
	result = cgfs_prog_instructions(prog_fd, *insns, *size);
	return result < 0 ? result : 0;
}

int cgfs_prog_does_the_same(int prog_fd, int other_fd)
{
	void *insns, *others = NULL;
	uint32_t size, other_size, type, other_type;
	int result;

	result = instructions_without_maps(prog_fd, &insns, &size, &type);
	if (result == 0 && insns)
		result = instructions_without_maps(other_fd, &others, &other_size, &other_type);
	if (result == 0)
		result = insns && others && type == other_type && size == other_size && !memcmp(insns, others, size);
	free(insns);
	free(others);
	return result;
}

int cgfs_prog_info(int prog_fd, struct cgfs_prog_info *answer, uint32_t *map_ids, uint32_t capacity)
{
	struct bpf_prog_info info;
	int result;

	memset(answer, 0, sizeof(*answer));
	memset(&info, 0, sizeof(info));
	info.nr_map_ids = capacity;
	info.map_ids = address(map_ids);
	result = object_info(prog_fd, &info, sizeof(info));
	if (result < 0)
		return result;
	answer->type = info.type;
	answer->id = info.id;
	answer->created_by_uid = info.created_by_uid;
	answer->n_maps = info.nr_map_ids;
	answer->loaded_at_ns = info.load_time;
	answer->btf_id = info.btf_id;
	answer->debug_size = (uint64_t)info.nr_func_info * info.func_info_rec_size +
			     (uint64_t)info.nr_line_info * info.line_info_rec_size;
	memcpy(answer->tag, info.tag, sizeof(answer->tag));
	memcpy(answer->name, info.name, sizeof(answer->name));
	return 0;
}

int cgfs_btf_size(uint32_t id)
{
	struct bpf_btf_info info;
	union bpf_attr attr;
	int fd, result;

	memset(&attr, 0, sizeof(attr));
	attr.btf_id = id;
	fd = sys_bpf(BPF_BTF_GET_FD_BY_ID, &attr, sizeof(attr));
	if (fd < 0)
		return fd;
	memset(&info, 0, sizeof(info));
	result = object_info(fd, &info, sizeof(info));
	close(fd);
	return result < 0 ? result : info.btf_size > INT_MAX ? INT_MAX : (int)info.btf_size;
}

int cgfs_prog_bind_map(int prog_fd, int map_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_bind_map.prog_fd = prog_fd;
	attr.prog_bind_map.map_fd = map_fd;
	return sys_bpf(BPF_PROG_BIND_MAP, &attr, sizeof(attr));
}

int cgfs_map_create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max_entries, uint32_t flags,
		    const char *name)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key_size;
	attr.value_size = value_size;
	attr.max_entries = max_entries;
	attr.map_flags = flags;
	strncpy(attr.map_name, name, sizeof(attr.map_name) - 1);
	return sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

int cgfs_map_info(int map_fd, struct cgfs_map_info *answer)
{
	struct bpf_map_info info;
	int result;

	memset(answer, 0, sizeof(*answer));
	memset(&info, 0, sizeof(info));
	result = object_info(map_fd, &info, sizeof(info));
	if (result < 0)
		return result;
	answer->type = info.type;
	answer->id = info.id;
	answer->key_size = info.key_size;
	answer->value_size = info.value_size;
	answer->max_entries = info.max_entries;
	answer->btf_id = info.btf_id;
	memcpy(answer->name, info.name, sizeof(answer->name));
	return 0;
}

/* One of the commands on an element of a map. */
static int map_element(int command, int map_fd, const void *key, const void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map_fd;
	attr.key = address(key);
	attr.value = address(value);
	attr.flags = flags;
	return sys_bpf(command, &attr, sizeof(attr));
}

int cgfs_map_lookup(int map_fd, const void *key, void *value)
{
	return map_element(BPF_MAP_LOOKUP_ELEM, map_fd, key, value, 0);
}

int cgfs_map_update(int map_fd, const void *key, const void *value, uint64_t flags)
{
	return map_element(BPF_MAP_UPDATE_ELEM, map_fd, key, value, flags);
}

int cgfs_map_freeze(int map_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map_fd;
	return sys_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr));
}

int cgfs_is_bpffs(int fd)
{
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return -errno;
	return status.f_type == BPF_FS_MAGIC;
}

int cgfs_bpffs_mount(const char *path)
{
	return mount("bpffs", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0 ? -errno : 0;
}
