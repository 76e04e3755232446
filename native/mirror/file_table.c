/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The open files whose reads and writes come to us, and the handles by which the kernel names them.
 *
 * A handle is an index and the generation of what stood there, never a pointer: a handle that stands for nothing is
 * told apart, and answered with EBADF. 0 is no handle, and those with HANDLE_OF_POLLER are of opens that the kernel
 * passes through.
 */
#include <stdlib.h>

#include "files.h"
#include "hash.h"
#include "control_known.h"

#define GENERATIONS ((uint32_t)(HANDLE_OF_POLLER >> 32) - 1)

struct slot {
	struct open_file *file;		/* NULL: free */
	uint32_t generation;		/* of file, or of the next one: 1 to GENERATIONS */
	uint32_t next_free;		/* index + 1 of the next free slot; 0 is none */
};

#define BUCKET_BITS 10

struct file_table {
	pthread_mutex_t lock;		/* guards all of this; no other is taken under it */
	struct slot *slots;
	uint32_t size;
	uint32_t free;			/* index + 1 of the first free slot; 0: grow */
	LIST_HEAD(, open_file) with_fd[1 << BUCKET_BITS];	/* by node: few of the files have one, and nobody has more than his share */
};

int file_table_create(struct cgfs_mirror *mirror)
{
	mirror->files = calloc(1, sizeof(*mirror->files));
	if (!mirror->files)
		return -ENOMEM;
	pthread_mutex_init(&mirror->files->lock, NULL);
	return 0;
}

void file_table_destroy(struct cgfs_mirror *mirror)
{
	struct file_table *table = mirror->files;

	if (!table)
		return;
	for (uint32_t i = 0; i < table->size; i++)
		if (table->slots[i].file)
			file_put(table->slots[i].file);
	pthread_mutex_destroy(&table->lock);
	free(table->slots);
	free(table);
	mirror->files = NULL;
}

static int grow(struct file_table *table)
{
	uint32_t size = table->size ? 2 * table->size : 64;
	struct slot *slots = size > table->size ? realloc(table->slots, size * sizeof(*slots)) : NULL;

	if (!slots)
		return -ENOMEM;
	table->slots = slots;
	for (uint32_t i = size; i-- > table->size; table->free = i + 1)
		slots[i] = (struct slot){ .generation = 1, .next_free = table->free };
	table->size = size;
	return 0;
}

static int insert(struct file_table *table, struct open_file *file, uint64_t *file_handle)
{
	struct slot *slot;
	int error = 0;

	pthread_mutex_lock(&table->lock);
	if (!table->free)
		error = grow(table);
	if (!error) {
		slot = &table->slots[table->free - 1];
		*file_handle = (uint64_t)slot->generation << 32 | (table->free - 1);
		slot->file = file;
		table->free = slot->next_free;
		if (file->fd >= 0)
			LIST_INSERT_HEAD(&table->with_fd[hash_id(file->node, BUCKET_BITS)], file, with_fd);
	}
	pthread_mutex_unlock(&table->lock);
	return error;
}

int file_charge(const struct request *request, struct open_file *file, unsigned int n)
{
	if (!n)
		return 0;
	file->user = descriptor_user(request);
	if (!descriptors_take(request->mirror, file->user, n))
		return -ENFILE;
	file->n_charged = n;
	return 0;
}

bool file_charge_reader(struct open_file *file, uint64_t user, size_t bytes)
{
	unsigned int n = (unsigned int)(bytes / LIKE_A_DESCRIPTOR);

	if (file->n_read)
		descriptors_give(file->mirror, file->reader, file->n_read);
	file->n_read = 0;
	if (n && !descriptors_take(file->mirror, user, n))
		return false;
	file->reader = user;
	file->n_read = n;
	return true;
}

int file_add(const struct request *request, int fd, bool backed, uint64_t *file_handle)
{
	struct open_file *file = calloc(1, sizeof(*file));
	int error = file ? 0 : -ENOMEM;

	if (!error && fd >= 0)
		error = file_charge(request, file, 1);
	if (error) {
		free(file);
		close_fd(&fd);
		return error;
	}
	file->mirror = request->mirror;
	file->fd = fd;
	file->node = request->header->nodeid;
	file->backed = backed;
	file->references = 1;
	pthread_mutex_init(&file->lock, NULL);
	error = insert(file->mirror->files, file, file_handle);
	if (error)
		file_put(file);
	return error;
}

/* The slot of a handle, or NULL. Called with the lock held. */
static struct slot *find(struct file_table *table, uint64_t file_handle)
{
	uint32_t index = file_handle;
	struct slot *slot = index < table->size ? &table->slots[index] : NULL;

	return slot && slot->file && slot->generation == file_handle >> 32 ? slot : NULL;
}

struct open_file *file_get(struct cgfs_mirror *mirror, uint64_t node, uint64_t file_handle)
{
	struct file_table *table = mirror->files;
	struct open_file *file = NULL;
	struct slot *slot;

	pthread_mutex_lock(&table->lock);
	slot = find(table, file_handle);
	if (slot && slot->file->node == node) {
		file = slot->file;
		file->references++;
	}
	pthread_mutex_unlock(&table->lock);
	return file;
}

struct open_file *file_remove(struct cgfs_mirror *mirror, uint64_t file_handle)
{
	struct file_table *table = mirror->files;
	struct open_file *file = NULL;
	struct slot *slot;

	pthread_mutex_lock(&table->lock);
	slot = find(table, file_handle);
	if (slot) {
		file = slot->file;
		if (file->fd >= 0)
			LIST_REMOVE(file, with_fd);
		slot->file = NULL;
		slot->generation = slot->generation % GENERATIONS + 1;
		slot->next_free = table->free;
		table->free = slot - table->slots + 1;
	}
	pthread_mutex_unlock(&table->lock);
	return file;
}

int file_open_path(struct cgfs_mirror *mirror, uint64_t node)
{
	struct file_table *table = mirror->files;
	const struct open_file *file;
	int fd = -ESTALE;

	pthread_mutex_lock(&table->lock);
	LIST_FOREACH(file, &table->with_fd[hash_id(node, BUCKET_BITS)], with_fd) {
		if (file->node == node) {
			fd = dup_fd(file->fd);
			break;
		}
	}
	pthread_mutex_unlock(&table->lock);
	return fd;
}

void file_put(struct open_file *file)
{
	if (--file->references)
		return;
	close_fd(&file->fd);
	if (file->n_charged)
		descriptors_give(file->mirror, file->user, file->n_charged);
	if (file->n_read)
		descriptors_give(file->mirror, file->reader, file->n_read);
	free(file->snapshot);
	if (file->opener)
		content_put(file->opener);
	if (file->content)
		content_put(file->content);
	pthread_mutex_destroy(&file->lock);
	free(file);
}
