/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a thread of the daemon is while it acts as another process, by what the kernel says of it in /proc. */
#include "mirror/identity.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>

#include "child.h"
#include "test.h"

#define UID 1000u
#define GID 1001u
#define ROOT_GROUPS ((gid_t[]){ 20 })

/* The lines of /proc/thread-self/status that say who a thread is, and its cgroup namespace. */
struct state {
	char uid[64], gid[64], effective[64], permitted[64], cgroup_ns[64];
	char groups[1 << 16];
};

static char status[1 << 17];

static void line(const char *name, char *value, size_t size)
{
	const char *start = strstr(status, name);

	CHECK(start);
	start += strlen(name);
	snprintf(value, size, "%.*s", (int)strcspn(start, "\n"), start);
}

static struct state *state_of(const char *task)
{
	static struct state states[2];
	static unsigned int next;
	struct state *state = &states[next++ % 2];
	char path[64];
	ssize_t size;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/status", task);
	file = fopen(path, "r");
	CHECK(file);
	status[fread(status, 1, sizeof(status) - 1, file)] = 0;
	fclose(file);
	line("\nUid:\t", state->uid, sizeof(state->uid));
	line("\nGid:\t", state->gid, sizeof(state->gid));
	line("\nCapEff:\t", state->effective, sizeof(state->effective));
	line("\nCapPrm:\t", state->permitted, sizeof(state->permitted));
	line("\nGroups:\t", state->groups, sizeof(state->groups));
	snprintf(path, sizeof(path), "/proc/%s/ns/cgroup", task);
	size = readlink(path, state->cgroup_ns, sizeof(state->cgroup_ns) - 1);
	state->cgroup_ns[size > 0 ? size : 0] = 0;	/* another task's, without capabilities: not to be had */
	return state;
}

static bool same(const struct state *a, const struct state *b)
{
	return !strcmp(a->uid, b->uid) && !strcmp(a->gid, b->gid) && !strcmp(a->effective, b->effective) &&
	       !strcmp(a->permitted, b->permitted) && !strcmp(a->groups, b->groups) &&
	       !strcmp(a->cgroup_ns, b->cgroup_ns);
}

static uint64_t effective(const struct state *state)
{
	return strtoull(state->effective, NULL, 16);
}

/* Take the child's identity, hand what the thread is then to check, and see that nothing is left of it afterwards. */
static void as_child(void (*prepare)(void), uint32_t uid, uint32_t gid, int flags,
		     void (*check)(const struct state *mine, const struct state *theirs))
{
	struct child child = child_start(prepare);
	struct state before = *state_of("thread-self");
	struct identity identity = {};
	struct state *theirs;
	char tid[16];

	snprintf(tid, sizeof(tid), "%d", child.pid);
	theirs = state_of(tid);
	CHECK(!identity_take(&identity, &(struct cgfs_caller){child.pid, uid, gid}, flags));
	check(state_of("thread-self"), theirs);
	identity_drop(&identity);
	CHECK(same(&before, state_of("thread-self")));
	child_end(&child);
}

static void be_a_user(void)
{
	CHECK(!setgroups(2, (gid_t[]){ 7, 4000000 }) && !setresgid(GID, GID, GID) && !setresuid(UID, UID, UID));
}

static void check_user(const struct state *mine, const struct state *theirs)
{
	CHECK(!strcmp(mine->uid, "0\t0\t0\t1000"));
	CHECK(!strcmp(mine->gid, "0\t0\t0\t1001"));
	CHECK(!strcmp(mine->groups, "7 4000000 ") && !strcmp(mine->groups, theirs->groups));
	CHECK(effective(mine) == 0);
}

TEST(identity_of_a_user_is_its_ids_and_groups_without_capabilities)
{
	as_child(be_a_user, UID, GID, 0, check_user);
}

static void be_in_many_groups(void)
{
	static gid_t groups[5000];

	for (unsigned int i = 0; i < 5000; i++)
		groups[i] = 100000 + i;
	CHECK(!setgroups(5000, groups) && !setresuid(UID, UID, UID));
}

static void check_groups(const struct state *mine, const struct state *theirs)
{
	CHECK(strlen(mine->groups) == 5000 * strlen("100000 "));
	CHECK(!strcmp(mine->groups, theirs->groups));
}

TEST(identity_has_all_of_five_thousand_groups)
{
	as_child(be_in_many_groups, UID, 0, 0, check_groups);
}

static void set_effective(uint64_t set)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	CHECK(!syscall(SYS_capget, &header, data));
	data[0].effective = set;
	data[1].effective = set >> 32;
	CHECK(!syscall(SYS_capset, &header, data));
}

static void be_root_with_one_capability(void)
{
	set_effective(1ull << CAP_SYS_ADMIN);
}

static void check_same_effective(const struct state *mine, const struct state *theirs)
{
	CHECK(effective(mine) == 1ull << CAP_SYS_ADMIN && effective(mine) == effective(theirs));
	CHECK(!strcmp(mine->uid, "0\t0\t0\t0"));
}

TEST(identity_has_exactly_the_effective_capabilities)
{
	as_child(be_root_with_one_capability, 0, 0, 0, check_same_effective);
}

static void be_a_user_with_a_capability(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 1 << CAP_SYS_ADMIN, 1 << CAP_SYS_ADMIN, 0 } };

	CHECK(!syscall(SYS_setfsuid, UID));
	CHECK(!syscall(SYS_capset, &header, data));
}

static void check_user_with_a_capability(const struct state *mine, const struct state *theirs)
{
	CHECK(!strcmp(mine->uid, "0\t0\t0\t1000"));
	CHECK(effective(mine) == 1ull << CAP_SYS_ADMIN && effective(mine) == effective(theirs));
}

TEST(identity_of_a_user_keeps_its_capabilities)
{
	as_child(be_a_user_with_a_capability, UID, 0, 0, check_user_with_a_capability);
}

static void be_root_of_a_user_namespace(void)
{
	CHECK(!unshare(CLONE_NEWUSER));
}

static void check_no_capabilities(const struct state *mine, const struct state *theirs)
{
	CHECK(effective(mine) == 0 && effective(theirs) != 0);
}

TEST(identity_has_no_capability_held_in_another_user_namespace)
{
	as_child(be_root_of_a_user_namespace, 0, 0, 0, check_no_capabilities);
}

static void be_in_a_cgroup_namespace(void)
{
	CHECK(!unshare(CLONE_NEWCGROUP));
	be_a_user();
}

static void check_cgroup_namespace(const struct state *mine, const struct state *theirs)
{
	check_user(mine, theirs);
	CHECK(!strcmp(mine->cgroup_ns, theirs->cgroup_ns));
}

TEST(identity_is_in_the_cgroup_namespace_where_that_is_asked_for)
{
	as_child(be_in_a_cgroup_namespace, UID, GID, IDENTITY_CGROUP_NS, check_cgroup_namespace);
}

static void check_own_cgroup_namespace(const struct state *mine, const struct state *theirs)
{
	check_user(mine, theirs);
	CHECK(strcmp(mine->cgroup_ns, theirs->cgroup_ns) != 0);
}

TEST(identity_stays_out_of_the_cgroup_namespace_otherwise)
{
	as_child(be_in_a_cgroup_namespace, UID, GID, 0, check_own_cgroup_namespace);
}

static void be_root_in_other_groups(void)
{
	CHECK(!setgroups(1, ROOT_GROUPS));
}

static void check_nothing_changed(const struct state *mine, const struct state *theirs)
{
	CHECK(!strcmp(mine->uid, theirs->uid) && effective(mine) == effective(theirs));
}

TEST(identity_of_root_needs_no_change)
{
	as_child(be_root_in_other_groups, 0, 0, IDENTITY_CGROUP_NS, check_nothing_changed);
}

static void check_bare_ids(const struct state *mine, const struct state *theirs)
{
	(void)theirs;
	CHECK(!strcmp(mine->uid, "0\t0\t0\t2000") && !strcmp(mine->gid, "0\t0\t0\t1001"));
	CHECK(!strcmp(mine->groups, " ") && effective(mine) == 0);	/* an empty list, as /proc writes it */
}

TEST(identity_trusts_no_groups_nor_capabilities_of_a_task_with_other_ids_than_the_request)
{
	as_child(be_a_user, 2000, GID, 0, check_bare_ids);
	as_child(be_root_in_other_groups, 2000, GID, 0, check_bare_ids);
}

TEST(identity_without_a_task_is_its_ids_alone)
{
	struct state before = *state_of("thread-self");
	struct identity identity = {};

	CHECK(!identity_take(&identity, &(struct cgfs_caller){0, 2000, GID}, 0));
	check_bare_ids(state_of("thread-self"), NULL);
	identity_drop(&identity);
	CHECK(same(&before, state_of("thread-self")));
	CHECK(!identity_take(&identity, &(struct cgfs_caller){0, 0, 0}, 0));
	CHECK(effective(state_of("thread-self")) == 0);
	identity_drop(&identity);
	CHECK(same(&before, state_of("thread-self")));
}

TEST(identity_without_a_task_is_refused_where_its_cgroup_namespace_matters)
{
	struct state before = *state_of("thread-self");
	struct identity identity = {};

	CHECK(identity_take(&identity, &(struct cgfs_caller){0, 0, 0}, IDENTITY_CGROUP_NS) == -ESRCH);
	CHECK(same(&before, state_of("thread-self")));
}

TEST(identity_of_a_task_that_is_gone_is_an_error_and_changes_nothing)
{
	struct child child = child_start(be_a_user);
	struct state before = *state_of("thread-self");
	struct identity identity = {};

	child_end(&child);
	CHECK(identity_take(&identity, &(struct cgfs_caller){child.pid, UID, GID}, IDENTITY_CGROUP_NS) < 0);
	CHECK(identity_take(&identity, &(struct cgfs_caller){child.pid, UID, GID}, 0) < 0);
	CHECK(identity_take_capabilities(&identity, &(struct cgfs_caller){.tid = child.pid}) < 0);
	CHECK(same(&before, state_of("thread-self")));
}

static void capabilities_as(void (*prepare)(void), uint64_t expected)
{
	struct child child = child_start(prepare);
	struct state before = *state_of("thread-self");
	struct identity identity = {};
	struct state *mine;

	CHECK(!identity_take_capabilities(&identity, &(struct cgfs_caller){.tid = child.pid}));
	mine = state_of("thread-self");
	CHECK(effective(mine) == expected);
	CHECK(!strcmp(mine->uid, before.uid) && !strcmp(mine->groups, before.groups));
	identity_drop(&identity);
	CHECK(same(&before, state_of("thread-self")));
	child_end(&child);
}

TEST(identity_capabilities_of_the_writer)
{
	capabilities_as(be_a_user, 0);
	capabilities_as(be_root_with_one_capability, 1ull << CAP_SYS_ADMIN);
	capabilities_as(be_root_of_a_user_namespace, 0);
	capabilities_as(be_root_in_other_groups, effective(state_of("thread-self")));
}

TEST(identity_capabilities_without_a_task_are_none)
{
	struct identity identity = {};

	CHECK(!identity_take_capabilities(&identity, &(struct cgfs_caller){.tid = 0}));
	CHECK(effective(state_of("thread-self")) == 0);
	identity_drop(&identity);
}

static void *take_in_thread(void *child)
{
	struct identity identity = {};

	CHECK(!identity_take(&identity, &(struct cgfs_caller){((struct child *)child)->pid, UID, GID}, 0));
	CHECK(!strcmp(state_of("thread-self")->uid, "0\t0\t0\t1000"));
	CHECK(!strcmp(state_of("self")->uid, "0\t0\t0\t0"));	/* the main thread */
	identity_drop(&identity);
	return NULL;
}

TEST(identity_is_the_calling_threads_only)
{
	struct child child = child_start(be_a_user);
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, take_in_thread, &child) && !pthread_join(thread, NULL));
	child_end(&child);
}
