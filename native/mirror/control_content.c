/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The contents of control files that are being read, or known: by what they are, so that none is there twice. */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "control_known.h"

#define BUCKET_BITS 10

struct contents {
	pthread_mutex_t lock;		/* guards the rest, and the references of each; taken before no other */
	LIST_HEAD(content_bucket, content) buckets[1 << BUCKET_BITS];
};

static struct content_bucket *bucket_of(struct contents *contents, const char *data, size_t size)
{
	return &contents->buckets[hash_id(hash_bytes(data, size), BUCKET_BITS)];
}

static struct content *content_create(struct contents *contents, const char *data, size_t size)
{
	struct content *content = malloc(sizeof(*content) + size);

	if (!content)
		return NULL;
	*content = (struct content){.contents = contents, .size = size};
	memcpy(content->data, data, size);
	return content;
}

struct content *content_get(struct contents *contents, const char *data, size_t size)
{
	struct content_bucket *bucket = bucket_of(contents, data, size);
	struct content *content;

	pthread_mutex_lock(&contents->lock);
	LIST_FOREACH(content, bucket, in_bucket) {
		if (content->size == size && memcmp(content->data, data, size) == 0)
			break;
	}
	if (!content) {
		content = content_create(contents, data, size);
		if (content)
			LIST_INSERT_HEAD(bucket, content, in_bucket);
	}
	if (content)
		content->references++;
	pthread_mutex_unlock(&contents->lock);
	return content;
}

struct content *content_share(struct content *content)
{
	pthread_mutex_lock(&content->contents->lock);
	content->references++;
	pthread_mutex_unlock(&content->contents->lock);
	return content;
}

void content_put(struct content *content)
{
	struct contents *contents = content->contents;

	pthread_mutex_lock(&contents->lock);
	if (!--content->references) {
		LIST_REMOVE(content, in_bucket);
		free(content);
	}
	pthread_mutex_unlock(&contents->lock);
}

int contents_create(struct cgfs_mirror *mirror)
{
	mirror->contents = calloc(1, sizeof(*mirror->contents));
	if (!mirror->contents)
		return -ENOMEM;
	pthread_mutex_init(&mirror->contents->lock, NULL);
	return 0;
}

void contents_destroy(struct cgfs_mirror *mirror)
{
	if (!mirror->contents)
		return;
	pthread_mutex_destroy(&mirror->contents->lock);
	free(mirror->contents);
	mirror->contents = NULL;
}
