/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The C tests' frame: TEST(name) { ... CHECK(condition); } in any file of this directory is a test of native-tests. */
#ifndef CGFS_TEST_H
#define CGFS_TEST_H

#include <stdio.h>
#include <stdlib.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};
void test_register(struct test *test);

#define TEST(test_name) \
	static void run_##test_name(void); \
	static struct test test_##test_name = { .name = #test_name, .run = run_##test_name }; \
	__attribute__((constructor)) static void register_##test_name(void) { test_register(&test_##test_name); } \
	static void run_##test_name(void)

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
