int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);
int cgfs_cgroup_controllers_owner(int cgroup_fd, bool wait, uint32_t *uid, uint32_t *gid);
int cgfs_cgroup_parent(int cgroup_fd);
