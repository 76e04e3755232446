"""The threads of a process: what they are doing, and stopping them all. Source: proc_pid_stat(5)."""

import collections
import contextlib
import os
import signal
from pathlib import Path

from tests.support.waiting import until


def state_of(task: Path) -> str:
    """The state of a thread, or of the first of a process, by its directory in /proc: a letter."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def thread_states(pid: int) -> collections.Counter[str]:
    """How many threads of *pid* are in each state, by its letter."""
    states: collections.Counter[str] = collections.Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            states[state_of(task)] += 1
    return states


def waiting_threads(pid: int) -> int:
    """How many threads of *pid* wait in the kernel and cannot be interrupted: those at a held lock."""
    return thread_states(pid)["D"]


def stop(pid: int) -> None:
    """Stop *pid*, and wait until each of its threads has stopped, or will before it does anything else: it waits in the
    kernel, for another one's answer maybe. SIGCONT lets it go on.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: set(thread_states(pid)) <= {"T", "D"}, "every thread has stopped")
