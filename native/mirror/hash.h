/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes for tables in memory. Nothing that matters may rest on two being different. */
#ifndef CGFS_MIRROR_HASH_H
#define CGFS_MIRROR_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * To that many bits: the end of SplitMix64. A multiplication alone puts what is numbered in equal steps, as directories are,
 * into few places. Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014).
 */
static inline size_t hash_id(uint64_t id, unsigned int bits)
{
	id = (id ^ id >> 30) * 0xbf58476d1ce4e5b9ull;
	id = (id ^ id >> 27) * 0x94d049bb133111ebull;
	return (size_t)((id ^ id >> 31) >> (64 - bits));
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
