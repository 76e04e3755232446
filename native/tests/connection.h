/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mirror of a real cgroup whose connection ends in the test, which plays the kernel: it sends requests, malformed
 * ones included, and takes the replies. No passthrough, and nothing is mounted.
 */
#ifndef CGFS_TEST_CONNECTION_H
#define CGFS_TEST_CONNECTION_H

#include "mirror/internal.h"

struct connection {
	struct cgfs_mirror *mirror;
	int kernel;		/* the kernel's end */
	char source[512];	/* a cgroup of this connection's own */
	uint64_t last_unique;
	uint32_t uid;			/* whose requests are sent */
	uint32_t tid;			/* which thread's; 0: the test's */
};

/* The answer to a request: error 0 or -errno, and what follows the header. */
struct answer {
	uint64_t unique;
	int error;
	size_t size;
	union {
		char data[MAX_IO];
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct fuse_write_out write;
		struct mirror_init_out init;
		struct mirror_open_out open;
	};
};

void connection_open(struct connection *connection);
/* The same before INIT was exchanged and anything runs: for mirror_negotiate. */
void connection_create(struct connection *connection);
void connection_close(struct connection *connection);

/* Send any message. */
void connection_send_raw(struct connection *connection, const void *data, size_t size);
/* Send a request as root, with the body in parts of which each may be missing. Returns its unique id. */
uint64_t connection_send(struct connection *connection, uint32_t opcode, uint64_t node, const void *body, size_t body_size,
			 const void *rest, size_t rest_size);
/* The next answer, whichever request it is for. Notifications, which others on this machine may cause, are passed over. */
const struct answer *connection_receive(struct connection *connection);
bool connection_has_answer(struct connection *connection);
/* Send and receive. */
const struct answer *connection_ask(struct connection *connection, uint32_t opcode, uint64_t node, const void *body,
				    size_t body_size, const void *rest, size_t rest_size);
/* LOOKUP: the node id of a name below a directory, which has to be there. */
uint64_t connection_lookup(struct connection *connection, uint64_t directory, const char *name);
/* OPEN of a node that can be opened so: the file handle. */
uint64_t connection_open_file(struct connection *connection, uint64_t node, uint32_t flags);
/* Remove what a process that was ended by a failed test has left: its sources. */
void connection_remove_leftovers(pid_t pid);
/* Wait until fd is readable, for as long as a loaded machine may take; then the test has failed. */
void wait_readable(int fd);

/* The control files of the mirror, and the nodes of SOURCE's. */
extern const char *const control_names[2];
#define CONTROL(index) (NODE_CONTROL | (uint64_t)(index) << 56 | FUSE_ROOT_ID)

/*
 * What whoever decides about them was asked last. Attributes are always the same ones, but for the size; a content is
 * "content N", the N-th thing that was asked; both are lasting if is_lasting. Everything is answered with the errno in
 * decision, if it is not 0.
 */
struct asked {
	const char *what;	/* NULL: nothing yet */
	unsigned int count;
	unsigned int ended;	/* how often the end of the connection was told */
	uint64_t node;
	struct {
		uint32_t uid, tgid;
		uint64_t capabilities;
	} opener;		/* all 0: there is none */
	struct cgfs_caller caller;
	struct cgfs_control_change change;
	uint32_t command;
	uint32_t size;
	char data[64];
};
extern struct asked asked;
extern int decision;
extern bool is_lasting;

#endif
