struct cgfs_mirror;

struct cgfs_untouched {
	const char *content;
	const char *const *note_names;
	size_t n_notes;
	uint32_t mode;
	int64_t time_s;
};

struct cgfs_mirror_options {
	const char *source;
	const char *mountpoint;
	const char *fsname;
	unsigned long mount_flags;
	bool allow_other;
	bool passthrough;
	const char *const *control_names;
	size_t n_control_names;
	const uint32_t *control_attach_types;
	const struct cgfs_untouched *untouched;
};

struct cgfs_control_ioctl {
	uint64_t unique;
	uint64_t node;
	uint64_t file_handle;
	uint32_t command;
	uint32_t tid, uid, gid;
	uint32_t open_flags;
	uint32_t size;
	uint8_t data[256];
};

int cgfs_mirror_open(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
int cgfs_mirror_start(struct cgfs_mirror *mirror);
void cgfs_mirror_let_go(struct cgfs_mirror *mirror);
void cgfs_mirror_close(struct cgfs_mirror *mirror);
int cgfs_mirror_relay_fd(const struct cgfs_mirror *mirror);
int cgfs_mirror_ioctl_fd(const struct cgfs_mirror *mirror);
int cgfs_mirror_next_ioctl(struct cgfs_mirror *mirror, struct cgfs_control_ioctl *ioctl);
int cgfs_mirror_answer_ioctl(struct cgfs_mirror *mirror, uint64_t unique, int error);
uint64_t cgfs_mirror_reader_node(struct cgfs_mirror *mirror, uint64_t file_handle);
int cgfs_mirror_mount_fd(const struct cgfs_mirror *mirror);
uint64_t cgfs_mirror_source_id(const struct cgfs_mirror *mirror);
void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node);
