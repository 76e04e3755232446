int cgfs_open_by_kernfs_id(int mount_fd, uint64_t id, int flags);
int cgfs_open_cgroup2(const char *const *flags, size_t n);
