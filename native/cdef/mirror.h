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

struct cgfs_control_snapshot {
	uint32_t uid, gid;
	uint32_t mode;
	uint64_t modified_ns;
	uint64_t changed_ns;
	bool lasting;
};

struct cgfs_control_change {
	int64_t mode, uid, gid;
};

struct cgfs_control_operations {
	int (*snapshot)(void *context, uint64_t node, struct cgfs_control_snapshot *snapshot, char *content, uint32_t room);
	int (*setattr)(void *context, uint64_t node, const struct cgfs_caller *caller, const struct cgfs_control_change *change);
	int (*write)(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
		     const char *data, uint32_t size);
	int (*ioctl)(void *context, uint64_t node, const struct cgfs_credentials *opener, const struct cgfs_caller *caller,
		     uint32_t command, const void *data, uint32_t size);
	int (*ended)(void *context);
};

int cgfs_mirror_open(const struct cgfs_mirror_options *options, struct cgfs_mirror **mirror);
int cgfs_mirror_start(struct cgfs_mirror *mirror, const struct cgfs_control_operations *control, void *context);
void cgfs_mirror_let_go(struct cgfs_mirror *mirror);
void cgfs_mirror_close(struct cgfs_mirror *mirror);
int cgfs_mirror_mount_fd(const struct cgfs_mirror *mirror);
uint64_t cgfs_mirror_device(const struct cgfs_mirror *mirror);
uint64_t cgfs_mirror_source_id(const struct cgfs_mirror *mirror);
void cgfs_mirror_control_changed(struct cgfs_mirror *mirror, uint64_t node);

/* struct cgfs_control_operations, as cgfs/edge.py defines them. */
extern "Python" {
	int cgfs_python_snapshot(void *, uint64_t, struct cgfs_control_snapshot *, char *, uint32_t);
	int cgfs_python_setattr(void *, uint64_t, const struct cgfs_caller *, const struct cgfs_control_change *);
	int cgfs_python_write(void *, uint64_t, const struct cgfs_credentials *, const struct cgfs_caller *, const char *, uint32_t);
	int cgfs_python_ioctl(void *, uint64_t, const struct cgfs_credentials *, const struct cgfs_caller *, uint32_t, const void *,
			      uint32_t);
	int cgfs_python_ended(void *);
}
