int cgfs_cgroup_open(int mount_fd, uint64_t cgroup_id);
int cgfs_cgroup_file_id(int cgroup_fd, const char *name, uint64_t *id);
int cgfs_cgroup_file_owner(int mount_fd, uint64_t id, uint32_t *uid, uint32_t *gid);
