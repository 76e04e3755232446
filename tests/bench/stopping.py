"""Ending early: SIGHUP, SIGINT and SIGTERM are noted when they come, and raised where it does no harm.

An exception out of a signal handler could come between the making of a mount, a process or a cgroup and the `with`
that removes it, or in the middle of a removal. So the handler only notes, `check` raises, and nothing that cleans up
calls `check`: a second signal does not hurt it.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_LOOK_EVERY_S = 0.2
_KILLED_WITHIN_S = 2.0


class Stopped(Exception):
    """The benchmark was told to end, by signal *number*."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


class Failed(Exception):
    """A command that the benchmark ran has failed, or did not end."""


_noted: list[int] = []


def _note(number: int, frame: FrameType | None) -> None:
    _noted.append(number)


def listen() -> None:
    for number in SIGNALS:
        signal.signal(number, _note)


def check() -> None:
    """Raises Stopped if a signal has come."""
    if _noted:
        raise Stopped(_noted[0])


def bind_to(cpu: int | None) -> Callable[[], None] | None:
    """What a child process has to do to run on *cpu* only (None: on any)."""
    return None if cpu is None else partial(os.sched_setaffinity, 0, {cpu})


def run(command: Sequence[str | Path], timeout_s: float = 120, *, cpu: int | None = None) -> str:
    """Run *command* to its end, in a session of its own, on *cpu* (None: on any), and return its stdout.

    The session does not outlive this function, unless it waits for a mount that does not answer: then it ends
    with the mount.
    Raises Stopped, and Failed with what the command said.
    """
    check()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=bind_to(cpu),
    )
    try:
        output, said = _wait(process, timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_WITHIN_S)
    check()
    if process.returncode:
        raise Failed(f"{Path(command[0]).name} has failed: {said.strip() or process.returncode}")
    return output


def _wait(process: subprocess.Popen[str], timeout_s: float) -> tuple[str, str]:
    for _ in range(int(timeout_s / _LOOK_EVERY_S)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_EVERY_S)
        check()
    raise Failed(f"no end after {timeout_s:.0f} s")
