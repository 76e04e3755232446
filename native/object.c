// SPDX-License-Identifier: GPL-2.0-or-later
/* libbpf, silenced: what it says goes into the log of the object that it says it about. Source: bpf/libbpf.h. */
#include "object.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct cgfs_object {
	struct bpf_object *elf;
	FILE *log;
	char *text;		/* of the log, after fflush() */
	size_t text_size;
};

/* Where what libbpf says in this thread belongs. */
static _Thread_local FILE *current_log;

__attribute__((format(printf, 2, 0)))
static int print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN || !current_log)
		return 0;
	return vfprintf(current_log, format, arguments);
}

static void set_print(void)
{
	libbpf_set_print(print);
}

static struct bpf_program *program_at(const struct cgfs_object *object, uint32_t index)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object->elf)
		if (index-- == 0)
			return program;
	return NULL;
}

int cgfs_object_open(const void *data, size_t size, const char *name, struct cgfs_object **answer)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);
	struct cgfs_object *object = calloc(1, sizeof(*object));

	*answer = NULL;
	if (!object)
		return -ENOMEM;
	object->log = open_memstream(&object->text, &object->text_size);
	if (!object->log) {
		free(object);
		return -ENOMEM;
	}
	*answer = object;
	pthread_once(&once, set_print);
	current_log = object->log;
	object->elf = bpf_object__open_mem(data, size, &options);
	current_log = NULL;
	return object->elf ? 0 : -errno;
}

void cgfs_object_close(struct cgfs_object *object)
{
	if (!object)
		return;
	bpf_object__close(object->elf);
	fclose(object->log);
	free(object->text);
	free(object);
}

const char *cgfs_object_log(struct cgfs_object *object)
{
	fflush(object->log);
	return object->text ? object->text : "";
}

int cgfs_object_program(const struct cgfs_object *object, uint32_t index, struct cgfs_object_program *answer)
{
	const struct bpf_program *program = program_at(object, index);

	if (!program)
		return -ENOENT;
	answer->section = bpf_program__section_name(program);
	answer->name = bpf_program__name(program);
	answer->type = bpf_program__type(program);
	answer->expected_attach_type = bpf_program__expected_attach_type(program);
	return 0;
}

/* Only chosen is to be loaded, and nothing is to stay behind: libbpf pins no map, nor takes a pinned one. */
static int prepare(struct bpf_object *elf, struct bpf_program *chosen)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int result = 0;

	bpf_object__for_each_program(program, elf) {
		result = bpf_program__set_autoload(program, program == chosen);
		if (result < 0)
			return result;
	}
	bpf_object__for_each_map(map, elf) {
		result = bpf_map__set_pin_path(map, NULL);
		if (result < 0)
			return result;
	}
	return 0;
}

int cgfs_object_load(struct cgfs_object *object, uint32_t index, uint32_t type, uint32_t expected_attach_type)
{
	struct bpf_program *program = program_at(object, index);
	int result;

	if (!program)
		return -ENOENT;
	current_log = object->log;
	result = prepare(object->elf, program);
	if (result == 0)
		result = bpf_program__set_type(program, type);
	if (result == 0)
		result = bpf_program__set_expected_attach_type(program, expected_attach_type);
	if (result == 0)
		result = bpf_object__load(object->elf);
	current_log = NULL;
	if (result < 0)
		return result;
	result = fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 0);
	return result < 0 ? -errno : result;
}
