"""Ends a mount that hangs, so that a test run never does.

A process that waits for a FUSE request that is never answered cannot be killed, and neither can pytest when
it is that process. So a small process stands beside pytest, hears of every step of every test, and when none
comes for BUDGET_S, or pytest is gone, it aborts the connections of the mounts it was told of: every waiting
call then fails with ECONNABORTED or ENOTCONN, and so does the test.
Source: fuse_umount_begin in fs/fuse/inode.c: MNT_FORCE aborts the connection.
"""

import contextlib
import os
import signal
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from tests.support.syscalls import MNT_DETACH, MNT_FORCE, umount

BUDGET_S = 100.0
"""More than any step of a test takes, less than a CI run has; no measurement."""


def abort_mount(mountpoint: Path) -> None:
    """End the FUSE connection mounted at *mountpoint*, and the mount with it."""
    for flags in (MNT_FORCE, MNT_DETACH):
        with contextlib.suppress(OSError):
            umount(str(mountpoint), flags)


class Watchdog:
    """The test process's end: one for a session. It bites when there was no step for *budget_s*."""

    def __init__(self, budget_s: float = BUDGET_S) -> None:
        self._connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._connection.close()
                os.setsid()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _watch(theirs, budget_s)
            finally:
                os._exit(0)
        theirs.close()

    def step(self) -> None:
        """A test has begun, is called or has ended."""
        self._connection.send(("step", ""))

    def guard(self, mountpoint: Path) -> None:
        self._connection.send(("guard", str(mountpoint)))

    def release(self, mountpoint: Path) -> None:
        self._connection.send(("release", str(mountpoint)))

    def close(self) -> None:
        self._connection.send(("end", ""))
        self._connection.close()
        os.waitpid(self._pid, 0)


def _watch(connection: Connection, budget_s: float) -> None:
    guarded: set[str] = set()
    while True:
        try:
            message, mountpoint = connection.recv() if connection.poll(budget_s) else ("abort", "")
        except (EOFError, OSError):
            message, mountpoint = "gone", ""
        if message == "guard":
            guarded.add(mountpoint)
        elif message == "release":
            guarded.discard(mountpoint)
        elif message in ("abort", "gone"):
            for each in guarded:
                print(
                    f"watchdog: nothing moved for {budget_s:.0f} s: aborting {each}",
                    file=sys.__stderr__,
                    flush=True,
                )
                abort_mount(Path(each))
            guarded.clear()
        if message in ("gone", "end"):
            return
