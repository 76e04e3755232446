int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);
