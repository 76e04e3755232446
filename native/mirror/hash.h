/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes for tables in memory. Nothing that matters may rest on two being different. */
#ifndef CGFS_MIRROR_HASH_H
#define CGFS_MIRROR_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Fibonacci hashing, to that many bits. Source: Knuth, The Art of Computer Programming, volume 3, section 6.4. */
static inline size_t hash_id(uint64_t id, unsigned int bits)
{
	return (size_t)(id * 0x9e3779b97f4a7c15ull >> (64 - bits));
}

/* FNV-1a, 64 bits. Source: RFC 9923. */
static inline uint64_t hash_bytes(const void *bytes, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ull;
	return hash;
}

#endif
