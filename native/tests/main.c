/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs all tests of the C code, or those whose names begin with an argument. The first that fails ends the run: they are in
 * a process of their own, and what it left is removed.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "connection.h"
#include "test.h"

static struct test *tests;

void test_register(struct test *test)
{
	struct test **link = &tests;

	while (*link && strcmp((*link)->name, test->name) < 0)
		link = &(*link)->next;
	test->next = *link;
	*link = test;
}

static int selected(const struct test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strncmp(test->name, argv[i], strlen(argv[i])))
			return 1;
	return argc == 1;
}

static int run(int argc, char **argv)
{
	int n = 0;

	for (const struct test *test = tests; test; test = test->next) {
		if (!selected(test, argc, argv))
			continue;
		printf("%s\n", test->name);
		fflush(stdout);
		test->run();
		n++;
	}
	printf("%d passed\n", n);
	return n ? 0 : 1;
}

int main(int argc, char **argv)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		return run(argc, argv);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return 1;
	connection_remove_leftovers(child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
