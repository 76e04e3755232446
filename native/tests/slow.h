/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection some of whose requests wait: FUSE_WRITE, until the test lets one go, the way a write to a cgroup file may;
 * FUSE_STATFS does so too, and the lookup of SLOW_NAME, but they do not say before that they may wait.
 */
#ifndef CGFS_TEST_SLOW_H
#define CGFS_TEST_SLOW_H

#include "connection.h"

#define SLOW_NAME "slow"

void open_slow(struct connection *connection);
void close_slow(struct connection *connection);
/* Send one that waits. Returns its unique id. */
uint64_t send_slow(struct connection *connection, uint32_t opcode);
void let_go(int count);
/* Take that many answers, none of which is an error. */
void receive_all(struct connection *connection, int count);
/* Ask something that does not wait. */
void check_answers(struct connection *connection);

#endif
