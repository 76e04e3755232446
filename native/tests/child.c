/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

struct child child_start(void (*prepare)(void))
{
	struct child child;
	int ready[2], hold[2];
	char byte;

	CHECK(!pipe(ready) && !pipe(hold));
	child.pid = fork();
	CHECK(child.pid >= 0);
	if (!child.pid) {
		close(ready[0]);
		close(hold[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prepare();
		CHECK(write(ready[1], "", 1) == 1);
		close(ready[1]);
		_exit(read(hold[0], &byte, 1) != 0);
	}
	close(ready[1]);
	close(hold[0]);
	child.hold = hold[1];
	CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return child;
}

void child_end(struct child *child)
{
	int status;

	close(child->hold);
	CHECK(waitpid(child->pid, &status, 0) == child->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
