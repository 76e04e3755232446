struct cgfs_caller {
	uint32_t tid, uid, gid;
};

struct cgfs_credentials {
	uint32_t uid, gid;
	uint32_t tgid;
	uint32_t n_groups;
	uint64_t capabilities;
	char comm[64];
	uint32_t groups[];
};

int cgfs_credentials_read(const struct cgfs_caller *caller, struct cgfs_credentials *credentials, uint32_t room);
uint64_t cgfs_caller_user(const struct cgfs_caller *caller);
int cgfs_pidfd_getfd(int pidfd, int number);
