/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGFS_MIRROR_USER_H
#define CGFS_MIRROR_USER_H

#include "internal.h"

/* Who the task tid is, with that fsuid: a uid (0: root, outside of containers), or a number above all uids. */
uint64_t user_of(uint32_t tid, uint32_t uid);

#endif
