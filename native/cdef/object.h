struct cgfs_object;

int cgfs_object_open(const void *data, size_t size, const char *name, struct cgfs_object **object);
void cgfs_object_close(struct cgfs_object *object);
const char *cgfs_object_log(struct cgfs_object *object);

struct cgfs_object_program {
	const char *section;
	const char *name;
	uint32_t type;
	uint32_t expected_attach_type;
};
int cgfs_object_program(const struct cgfs_object *object, uint32_t index, struct cgfs_object_program *program);
int cgfs_object_load(struct cgfs_object *object, uint32_t index, uint32_t type, uint32_t expected_attach_type);
