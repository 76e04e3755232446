int cgfs_pidfd_getfd(int pidfd, int number);

struct cgfs_task {
	uint32_t process;
	uint32_t fsuid, fsgid;
	uint32_t n_groups;
	uint64_t effective;
	uint64_t user_namespace;
	char name[64];
};

int cgfs_task_read(uint32_t tid, uint32_t uid, struct cgfs_task *task, uint32_t *groups, uint32_t room);
