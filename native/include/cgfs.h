/* SPDX-License-Identifier: GPL-2.0-or-later OR MIT */
/*
 * cgfs.h - attach a BPF program to a cgroup through one of its control files
 *
 * In each directory of a cgroup2 tree that cgfs shows there are the files net.ingress_filter, net.egress_filter and
 * net.socket_create_filter. To attach a program, open the file for writing and do this ioctl on it:
 *
 *	int fd = open("/run/cgfs/my.cgroup/net.egress_filter", O_WRONLY | O_CLOEXEC);
 *	struct cgfs_attach attach = { .prog_fd = prog_fd };
 *
 *	if (ioctl(fd, CGFS_IOC_ATTACH, &attach) < 0)
 *		err(1, "CGFS_IOC_ATTACH");
 *
 * Afterwards the file reads "bpf:TAG\n". To detach, write "none\n" to it.
 *
 * This header is the whole of the ABI. It stands alone, in C and in C++. What is in it does not change; what may be
 * added takes new flags, or reserved fields, which older versions of cgfs refuse.
 */
#ifndef CGFS_H
#define CGFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * struct cgfs_attach - the argument of CGFS_IOC_ATTACH
 *
 * @prog_fd:	a BPF program, as a descriptor of the calling thread. cgfs takes its own copy of the program during the
 *		call; the descriptor stays the caller's.
 * @flags:	how it is attached: 0, or one of the flags below.
 * @reserved:	has to be zero.
 */
struct cgfs_attach {
	__s32 prog_fd;
	__u32 flags;
	__u64 reserved[2];
};

#if defined(__cplusplus) && __cplusplus >= 201103L
static_assert(sizeof(struct cgfs_attach) == 24, "the size of struct cgfs_attach is part of the ABI");
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct cgfs_attach) == 24, "the size of struct cgfs_attach is part of the ABI");
#endif

/*
 * With no flag: the program holds for this cgroup and for all below it, and no filter below can undo what it denies
 * (the kernel's BPF_F_ALLOW_MULTI).
 *
 * CGFS_OVERRIDABLE: below this cgroup, a filter that is attached there takes the place of this one (the kernel's
 * BPF_F_ALLOW_OVERRIDE). Whoever can open the cgroup's directory on cgroup2 can also detach it, with no privilege.
 *
 * CGFS_NONRECURSIVE: the program holds for this cgroup's own members and not for those of cgroups below it.
 */
#define CGFS_OVERRIDABLE (1u << 0)
#define CGFS_NONRECURSIVE (1u << 1)

/*
 * CGFS_IOC_ATTACH - attach a program
 *
 * What was attached through this file before is replaced; what others have attached directly stays. Within one mode
 * that is one step: at no moment is neither program in force. Returns 0, or -1 with errno set, and nothing has changed
 * then:
 *
 * EBADF	The file is not open for writing, or prog_fd is not open in the calling thread.
 * EINVAL	prog_fd is no BPF program, or one of another type than this file takes, or the kernel refuses it for this
 *		hook. Or flags has an unknown flag or both flags, or reserved is not zero.
 * EPERM	The mount demands CAP_NET_ADMIN, in the initial user namespace, of whoever opened the file (mount option
 *		attach_cap). Or cgfs cannot see the calling thread from its PID namespace.
 * EBUSY	A filter of another mode is attached to this hook of this cgroup: between overridable and the others write
 *		"none" first. Or, with CGFS_OVERRIDABLE, somebody else's program is attached. Or somebody has attached
 *		exclusively above (flags 0). Or others keep changing what is attached.
 * EEXIST	Somebody else has attached this very program to this hook of this cgroup.
 * EOPNOTSUPP	CGFS_NONRECURSIVE, and the program cannot be tail-called.
 * ENODEV	The cgroup has been removed.
 * ENOTTY	This is not a control file of cgfs, or it does not know this command.
 * E2BIG	The kernel takes no more programs for this hook of this cgroup (64).
 * EROFS	The cgroup2 mount that the mirror shows has been made read-only.
 * EINTR	A signal came while the request had to wait for others of the same user's. Nothing was done.
 * EFAULT	The argument cannot be read.
 * ENOMEM	cgfs could not get memory.
 * EMFILE	cgfs has as many descriptors as it may.
 * ENFILE	The system has, or the user has had the share of cgfs's that he may have.
 * EIO		cgfs has failed. Its log says how.
 *
 * An open without permission for the file fails with EACCES.
 */
#define CGFS_IOC_MAGIC 0xC6
#define CGFS_IOC_ATTACH _IOW(CGFS_IOC_MAGIC, 1, struct cgfs_attach)

#ifdef __cplusplus
}
#endif

#endif
