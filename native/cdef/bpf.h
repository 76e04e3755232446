/* Constants of linux/bpf.h. */

static const int BPF_CGROUP_INET_INGRESS;
static const int BPF_CGROUP_INET_EGRESS;
static const int BPF_CGROUP_INET_SOCK_CREATE;
static const int BPF_CGROUP_SOCK_OPS;
static const int BPF_CGROUP_DEVICE;
static const int BPF_CGROUP_INET4_BIND;
static const int BPF_CGROUP_INET6_BIND;
static const int BPF_CGROUP_INET4_CONNECT;
static const int BPF_CGROUP_INET6_CONNECT;
static const int BPF_CGROUP_INET4_POST_BIND;
static const int BPF_CGROUP_INET6_POST_BIND;
static const int BPF_CGROUP_UDP4_SENDMSG;
static const int BPF_CGROUP_UDP6_SENDMSG;
static const int BPF_CGROUP_SYSCTL;
static const int BPF_CGROUP_UDP4_RECVMSG;
static const int BPF_CGROUP_UDP6_RECVMSG;
static const int BPF_CGROUP_GETSOCKOPT;
static const int BPF_CGROUP_SETSOCKOPT;
static const int BPF_CGROUP_INET4_GETPEERNAME;
static const int BPF_CGROUP_INET6_GETPEERNAME;
static const int BPF_CGROUP_INET4_GETSOCKNAME;
static const int BPF_CGROUP_INET6_GETSOCKNAME;
static const int BPF_CGROUP_INET_SOCK_RELEASE;

static const int BPF_PROG_TYPE_UNSPEC;
static const int BPF_PROG_TYPE_SOCKET_FILTER;
static const int BPF_PROG_TYPE_CGROUP_SKB;
static const int BPF_PROG_TYPE_CGROUP_SOCK;
static const int BPF_PROG_TYPE_SOCK_OPS;
static const int BPF_PROG_TYPE_CGROUP_DEVICE;
static const int BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
static const int BPF_PROG_TYPE_CGROUP_SYSCTL;
static const int BPF_PROG_TYPE_CGROUP_SOCKOPT;

static const int BPF_MAP_TYPE_HASH;
static const int BPF_MAP_TYPE_ARRAY;
static const int BPF_MAP_TYPE_PROG_ARRAY;
static const int BPF_MAP_TYPE_PERCPU_HASH;
static const int BPF_MAP_TYPE_PERCPU_ARRAY;
static const int BPF_MAP_TYPE_ARRAY_OF_MAPS;
static const int BPF_MAP_TYPE_HASH_OF_MAPS;

#define BPF_F_ALLOW_OVERRIDE ...
#define BPF_F_ALLOW_MULTI ...
#define BPF_F_REPLACE ...
#define BPF_F_QUERY_EFFECTIVE ...

/* bpf.h */

int cgfs_prog_attach(int cgroup_fd, int prog_fd, uint32_t attach_type, uint32_t flags, int replace_fd,
		     uint64_t revision);
int cgfs_prog_detach(int cgroup_fd, uint32_t attach_type, int prog_fd, uint64_t revision);

struct cgfs_query {
	uint32_t attach_flags;
	uint32_t count;
	uint64_t revision;
};
int cgfs_prog_query(int cgroup_fd, uint32_t attach_type, uint32_t query_flags, uint32_t *ids, uint32_t capacity,
		    struct cgfs_query *answer);

struct cgfs_attached {
	uint32_t id;
	uint8_t tag[...];
	uint64_t loaded_at_ns;
};
int cgfs_attached(int cgroup_fd, uint32_t attach_type, struct cgfs_attached *programs, uint32_t capacity,
		  struct cgfs_query *answer);

struct cgfs_link {
	uint32_t id;
	uint32_t prog_id;
};
int cgfs_links(uint64_t cgroup_id, uint32_t attach_type, struct cgfs_link *links, uint32_t capacity);
int cgfs_link_detach(int link_fd);

enum cgfs_kind { CGFS_PROG, CGFS_MAP, CGFS_LINK };

int cgfs_kind_of(int fd);
int cgfs_open_id(int kind, uint32_t id);
int cgfs_open_pinned(const char *path);
int cgfs_pin(int fd, const char *path);

struct cgfs_prog_load {
	uint32_t prog_type;
	uint32_t expected_attach_type;
	const void *insns;
	size_t size;
	const char *name;
	char *log;
	uint32_t log_size;
};
int cgfs_prog_load(const struct cgfs_prog_load *load);

struct cgfs_prog_info {
	uint32_t type;
	uint32_t id;
	uint32_t created_by_uid;
	uint32_t n_maps;
	uint64_t loaded_at_ns;
	uint64_t debug_size;
	uint32_t btf_id;
	uint8_t tag[...];
	char name[...];
};
int cgfs_prog_info(int prog_fd, struct cgfs_prog_info *info, uint32_t *map_ids, uint32_t capacity);
int cgfs_prog_instructions(int prog_fd, void *buffer, uint32_t capacity);
int cgfs_btf_size(uint32_t id);
int cgfs_prog_does_the_same(int prog_fd, int other_fd);
int cgfs_prog_bind_map(int prog_fd, int map_fd);

struct cgfs_map_info {
	uint32_t type;
	uint32_t id;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t btf_id;
	char name[...];
};
int cgfs_map_create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max_entries, uint32_t flags,
		    const char *name);
int cgfs_map_info(int map_fd, struct cgfs_map_info *info);
int cgfs_map_lookup(int map_fd, const void *key, void *value);
int cgfs_map_update(int map_fd, const void *key, const void *value, uint64_t flags);
int cgfs_map_freeze(int map_fd);

int cgfs_is_bpffs(int fd);
int cgfs_bpffs_mount(const char *path);
