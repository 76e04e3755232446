/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGFS_MIRROR_USER_H
#define CGFS_MIRROR_USER_H

#include "internal.h"

/* To whom what the caller uses is charged: a uid (0 only for root outside of containers), or a number above all uids. */
uint64_t user_of(const struct cgfs_caller *caller);

#endif
