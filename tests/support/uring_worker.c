/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Has a thread of io_uring's made, gives up all capabilities, and writes TEXT to FILE: opened by open(2), and opened by that
 * thread, which keeps what the process had.
 *
 *   uring_worker FILE TEXT
 *
 * Prints the two errnos, 0 for success. Source: io_uring(7), io_uring_enter(2).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
	int fd;
	struct io_uring_params params;
	char *submitted, *completed;
	struct io_uring_sqe *entries;
};

static void *map(const struct ring *ring, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, what);

	if (at == MAP_FAILED)
		err(1, "mmap");
	return at;
}

static void ring_open(struct ring *ring)
{
	const struct io_uring_params *params = &ring->params;

	ring->fd = syscall(SYS_io_uring_setup, 1, &ring->params);
	if (ring->fd < 0)
		err(1, "io_uring_setup");
	ring->submitted = map(ring, params->sq_off.array + sizeof(uint32_t), IORING_OFF_SQ_RING);
	ring->completed = map(ring, params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring->entries = map(ring, sizeof(*ring->entries), IORING_OFF_SQES);
}

/* Open path in a worker. Returns the descriptor or -errno. */
static int open_in_worker(struct ring *ring, const char *path, int flags)
{
	uint32_t *tail = (uint32_t *)(ring->submitted + ring->params.sq_off.tail);
	uint32_t *head = (uint32_t *)(ring->completed + ring->params.cq_off.head);
	uint32_t mask = *(uint32_t *)(ring->completed + ring->params.cq_off.ring_mask);
	const struct io_uring_cqe *answers = (const struct io_uring_cqe *)(ring->completed + ring->params.cq_off.cqes);

	ring->entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_OPENAT,
		.flags = IOSQE_ASYNC,
		.fd = AT_FDCWD,
		.addr = (uintptr_t)path,
		.open_flags = (uint32_t)flags,
	};
	*(uint32_t *)(ring->submitted + ring->params.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		err(1, "io_uring_enter");
	return answers[(*head)++ & mask].res;
}

static int errno_of_write(int fd, const char *text)
{
	if (fd < 0)
		return -fd;
	return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

int main(int argc, char **argv)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {};
	struct ring ring = {};
	int fd;

	if (argc != 3)
		errx(2, "usage: uring_worker FILE TEXT");
	ring_open(&ring);
	if (open_in_worker(&ring, "/dev/null", O_RDONLY) < 0)
		errx(1, "a worker cannot open /dev/null");
	if (syscall(SYS_capset, &header, none))
		err(1, "capset");
	fd = open(argv[1], O_WRONLY);
	printf("%d ", errno_of_write(fd < 0 ? -errno : fd, argv[2]));
	printf("%d\n", errno_of_write(open_in_worker(&ring, argv[1], O_WRONLY), argv[2]));
	return 0;
}
