int cgfs_pidfd_getfd(int pidfd, int number);
