/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ELF objects with BPF programs, read and loaded by libbpf. Functions return 0 or -errno where not said otherwise. */
#ifndef CGFS_OBJECT_H
#define CGFS_OBJECT_H

#include <stddef.h>
#include <stdint.h>

struct cgfs_object;

/*
 * Read the object in data, which has to stay until cgfs_object_close(). *object is to be closed also on error (unless
 * that was -ENOMEM): it has the log. name: what maps of global data are named by.
 */
int cgfs_object_open(const void *data, size_t size, const char *name, struct cgfs_object **object);
void cgfs_object_close(struct cgfs_object *object);
/* What libbpf and the verifier have said. Valid until the next call with this object. */
const char *cgfs_object_log(struct cgfs_object *object);

struct cgfs_object_program {
	const char *section;	/* valid as long as the object */
	const char *name;
	uint32_t type;		/* 0 where the section's name does not say it */
	uint32_t expected_attach_type;
};
/* The program with that index. -ENOENT behind the last. */
int cgfs_object_program(const struct cgfs_object *object, uint32_t index, struct cgfs_object_program *program);
/*
 * Load the program with that index, and no other, as that type. The object can load one program only. Returns its
 * descriptor or -errno.
 */
int cgfs_object_load(struct cgfs_object *object, uint32_t index, uint32_t type, uint32_t expected_attach_type);

#endif
