/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bpf(2) by the system call itself: libbpf of Debian 12 knows no revision of a query, and its wrappers would add
 * nothing. Sources: include/uapi/linux/bpf.h, kernel/bpf/syscall.c.
 */
#ifndef CGFS_BPF_CALL_H
#define CGFS_BPF_CALL_H

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline uint64_t address(const void *pointer)
{
	return (uintptr_t)pointer;
}

/* Returns what the system call does, or -errno. */
static inline int sys_bpf(int command, void *attr, size_t size)
{
	long result = syscall(SYS_bpf, command, attr, size);

	return result < 0 ? -errno : (int)result;
}

static inline int object_info(int fd, void *info, uint32_t size)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = fd;
	attr.info.info_len = size;
	attr.info.info = address(info);
	return sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
}

#endif
