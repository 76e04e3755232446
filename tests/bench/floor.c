/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A FUSE server that looks at nothing: the floor below every other, for the benchmark.
 *
 *   floor SOURCE MOUNTPOINT
 *
 * It shows the directories and files that were below SOURCE when it began, and in each directory the control files. All
 * answers are there before the questions; owners, modes and times are not SOURCE's, and nobody is refused anything. What it
 * tells the kernel is what cgfs tells it: names and attributes are good for long, but those of control files are asked for
 * each time, and those that come with a listing soon; the kernel reads and writes SOURCE's files itself (passthrough), but
 * for writes of cgroup.procs; there are no ACLs, and no file has another extended attribute. So what it takes is the kernel's
 * FUSE. Bind it and its caller to one CPU: to wake another takes longer than all the rest.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuse_abi.h"

#define LONG_S 86400
#define LISTED_NS (100 * 1000 * 1000)
#define MAX_NODES (1u << 20)
#define MAX_WRITE (1 << 20)
#define REQUEST_SIZE (MAX_WRITE + 4096)
#define REPLY_SIZE MAX_WRITE

struct node {
	char *path;		/* from SOURCE on */
	const char *name;	/* the end of it */
	mode_t type;		/* S_IFDIR or S_IFREG */
	bool is_control;	/* a control file: there is none below SOURCE */
	int backing_id;		/* 0: not opened yet */
	int write_fd;		/* 0 or less: the same */
	uint64_t first, end;	/* a directory's entries, in the order of their names */
};

static const char *const control_names[] = {"net.egress_filter", "net.ingress_filter", "net.socket_create_filter"};

static struct node *nodes;	/* by node id; [0] is nobody */
static uint64_t n_nodes = 1;
static int source_fd, fuse_fd;

/* --- the tree ------------------------------------------------------------------------------------------------------------ */

static void add_node(const char *directory, const char *name, mode_t type, bool is_control)
{
	struct node *node = &nodes[n_nodes];

	if (n_nodes++ == MAX_NODES)
		errx(1, "more than %u files", MAX_NODES);
	*node = (struct node){.type = type, .is_control = is_control};
	if (asprintf(&node->path, "%s/%s", directory, name) < 0)
		err(1, "%s", name);
	node->name = node->path + strlen(directory) + 1;
}

static int compare(const void *one, const void *other)
{
	return strcmp(((const struct node *)one)->name, ((const struct node *)other)->name);
}

/* In a directory that has gone meanwhile there are the control files only. */
static void add_entries(struct node *parent)
{
	int fd = openat(source_fd, parent->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!directory && errno != ENOENT)
		err(1, "%s", parent->path);
	parent->first = n_nodes;
	while (directory && (entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			add_node(parent->path, entry->d_name, entry->d_type == DT_DIR ? S_IFDIR : S_IFREG, false);
	if (directory)
		closedir(directory);
	for (size_t i = 0; i < sizeof(control_names) / sizeof(*control_names); i++)
		add_node(parent->path, control_names[i], S_IFREG, true);
	parent->end = n_nodes;
	qsort(&nodes[parent->first], parent->end - parent->first, sizeof(*nodes), compare);
}

static void read_tree(void)
{
	nodes = calloc(MAX_NODES, sizeof(*nodes));
	if (!nodes)
		err(1, "calloc");
	add_node(".", ".", S_IFDIR, false);
	for (uint64_t node = FUSE_ROOT_ID; node < n_nodes; node++)
		if (nodes[node].type == S_IFDIR)
			add_entries(&nodes[node]);
}

/* --- answers ------------------------------------------------------------------------------------------------------------- */

static char message[sizeof(struct fuse_out_header) + REPLY_SIZE] __attribute__((aligned(8)));
static char *const reply = message + sizeof(struct fuse_out_header);

static void answer(uint64_t unique, int error, size_t size)
{
	struct fuse_out_header *header = (struct fuse_out_header *)message;

	*header = (struct fuse_out_header){.len = (uint32_t)(sizeof(*header) + size), .error = error, .unique = unique};
	if (syscall(SYS_write, fuse_fd, message, header->len) < 0 && errno != ENOENT && errno != ENODEV)
		err(1, "answering");
}

static void answer_with(uint64_t unique, const void *data, size_t size)
{
	memcpy(reply, data, size);
	answer(unique, 0, size);
}

static struct fuse_attr attributes_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.mode = nodes[node].type | (nodes[node].type == S_IFDIR ? 0755 : 0644),
		.size = nodes[node].is_control ? strlen("none\n") : 0,
		.nlink = 1,
		.blksize = 4096,
	};
}

static struct fuse_entry_out entry_of(uint64_t node)
{
	return (struct fuse_entry_out){
		.nodeid = node,
		.entry_valid = LONG_S,
		.attr_valid = nodes[node].is_control ? 0 : LONG_S,
		.attr = attributes_of(node),
	};
}

static void look_up(const struct fuse_in_header *in)
{
	const struct node *directory = &nodes[in->nodeid], wanted = {.name = (const char *)(in + 1)};
	const struct node *found = bsearch(&wanted, &nodes[directory->first], directory->end - directory->first,
					   sizeof(wanted), compare);
	struct fuse_entry_out entry;

	if (!found) {
		answer(in->unique, -ENOENT, 0);
		return;
	}
	entry = entry_of((uint64_t)(found - nodes));
	answer_with(in->unique, &entry, sizeof(entry));
}

static void get_attributes(const struct fuse_in_header *in)
{
	const struct fuse_attr_out out = {
		.attr_valid = nodes[in->nodeid].is_control ? 0 : LONG_S,
		.attr = attributes_of(in->nodeid),
	};

	answer_with(in->unique, &out, sizeof(out));
}

/* As many entries as fit, from an offset on that is the number of entries before it; with READDIRPLUS always. */
static void list(const struct fuse_in_header *in)
{
	const struct fuse_read_in *asked = (const void *)(in + 1);
	const struct node *directory = &nodes[in->nodeid];
	size_t size = 0;

	for (uint64_t node = directory->first + asked->offset; node < directory->end; node++) {
		size_t length = strlen(nodes[node].name);
		struct fuse_direntplus *entry = (struct fuse_direntplus *)(reply + size);
		size_t whole = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);

		if (size + whole > asked->size)
			break;
		memset(entry, 0, whole);
		entry->entry_out = entry_of(node);
		entry->entry_out.attr_valid = 0;
		entry->entry_out.attr_valid_nsec = nodes[node].is_control ? 0 : LISTED_NS;
		entry->dirent.ino = node;
		entry->dirent.off = node - directory->first + 1;
		entry->dirent.namelen = (uint32_t)length;
		entry->dirent.type = nodes[node].type >> 12;
		memcpy(entry->dirent.name, nodes[node].name, length);
		size += whole;
	}
	answer(in->unique, 0, size);
}

/* The kernel keeps the file that it is to open instead; it is ours no longer. */
static int backing_id_of(const struct node *node)
{
	struct fuse_backing_map map = {.fd = openat(source_fd, node->path, O_PATH | O_CLOEXEC)};
	int id = ioctl(fuse_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	close(map.fd);
	return id < 0 ? 0 : id;
}

static void open_file(const struct fuse_in_header *in)
{
	const struct fuse_open_in *asked = (const void *)(in + 1);
	struct node *node = &nodes[in->nodeid];
	struct mirror_open_out out = {.open_flags = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH};

	if ((asked->flags & O_ACCMODE) != O_RDONLY && strcmp(node->name, "cgroup.procs") == 0)
		out.open_flags |= FOPEN_DIRECT_IO;
	if (!node->backing_id && !node->is_control)
		node->backing_id = backing_id_of(node);
	out.backing_id = node->backing_id;
	if (out.backing_id)
		answer_with(in->unique, &out, sizeof(out));
	else
		answer(in->unique, -EIO, 0);
}

/* What the kernel leaves to us, by FOPEN_DIRECT_IO. */
static void write_file(const struct fuse_in_header *in)
{
	const struct fuse_write_in *asked = (const void *)(in + 1);
	struct fuse_write_out out = {.size = asked->size};
	struct node *node = &nodes[in->nodeid];

	if (node->write_fd <= 0)
		node->write_fd = openat(source_fd, node->path, O_WRONLY | O_CLOEXEC);
	if (node->write_fd < 0 || pwrite(node->write_fd, asked + 1, asked->size, 0) < 0)
		answer(in->unique, -errno, 0);
	else
		answer_with(in->unique, &out, sizeof(out));
}

static void get_extended_attribute(const struct fuse_in_header *in)
{
	const struct fuse_getxattr_in *asked = (const void *)(in + 1);
	const char *name = (const char *)(asked + 1);

	answer(in->unique, strncmp(name, "system.", strlen("system.")) ? -ENODATA : -EOPNOTSUPP, 0);
}

static void begin(const struct fuse_in_header *in)
{
	const struct fuse_init_in *asked = (const void *)(in + 1);
	const struct mirror_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = MIRROR_FUSE_MINOR,
		.max_readahead = asked->max_readahead,
		.flags = (asked->flags & MIRROR_FUSE_FLAGS) | FUSE_INIT_EXT,
		.flags2 = FUSE_PASSTHROUGH >> 32,
		.max_stack_depth = 1,
		.max_write = MAX_WRITE,
		.max_pages = MAX_WRITE / 4096,
		.time_gran = 1,
	};

	if (!(asked->flags & FUSE_INIT_EXT) || !(asked->flags2 & out.flags2))
		errx(1, "this kernel's FUSE has no passthrough");
	answer_with(in->unique, &out, sizeof(out));
}

static void handle(const struct fuse_in_header *in)
{
	switch (in->opcode) {
	case FUSE_INIT:
		begin(in);
		break;
	case FUSE_LOOKUP:
		look_up(in);
		break;
	case FUSE_GETATTR:
		get_attributes(in);
		break;
	case FUSE_READDIRPLUS:
		list(in);
		break;
	case FUSE_OPEN:
		open_file(in);
		break;
	case FUSE_WRITE:
		write_file(in);
		break;
	case FUSE_RELEASE:
	case FUSE_DESTROY:
		answer(in->unique, 0, 0);
		break;
	case FUSE_GETXATTR:
		get_extended_attribute(in);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(in->unique, -ENOSYS, 0);
	}
}

static void mount_on(const char *mountpoint)
{
	char options[128];

	fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse_fd < 0)
		err(1, "/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuse_fd);
	if (mount("floor", mountpoint, "fuse.floor", MS_NOSUID | MS_NODEV | MS_NOEXEC, options))
		err(1, "mounting %s", mountpoint);
}

int main(int argc, char **argv)
{
	static char request[REQUEST_SIZE] __attribute__((aligned(8)));
	const struct sched_param none = {};

	if (argc != 3)
		errx(2, "usage: floor SOURCE MOUNTPOINT");
	source_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source_fd < 0)
		err(1, "%s", argv[1]);
	read_tree();
	mount_on(argv[2]);
	if (sched_setscheduler(0, SCHED_IDLE, &none))	/* as cgfs's thread that follows a caller */
		err(1, "SCHED_IDLE");
	for (;;) {
		if (syscall(SYS_read, fuse_fd, request, sizeof(request)) > 0)
			handle((const struct fuse_in_header *)request);
		else if (errno == ENODEV)
			return 0;
		else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
			err(1, "reading a request");
	}
}
