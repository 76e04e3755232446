"""A daemon behind the command that starts it.

Owns the fork and the pipe by which the daemon says that it is ready, or why it will never be. Knows nothing
of what the daemon does. Source: daemon(7), "SysV Daemons"; the second fork is left out: what has no terminal
open gets none (O_NOCTTY).
"""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from cgfs.errors import describe

log = logging.getLogger(__name__)

_READY = "ready"
_HIGHEST = 2**31 - 1  # close_range(2) does not mind


def start(serve: Callable[[Callable[[], None]], None]) -> int:
    """Run *serve* in a process of its own and return its pid when it has called its argument: it is ready.

    Raises OSError with the reason where it ends without; no process is left then. To be called before any
    thread is.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _run(serve, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, encoding="utf-8", errors="surrogateescape") as words:
            answer = words.read()
    except KeyboardInterrupt:
        end(pid)
        raise
    if answer == _READY:
        return pid
    _, status = os.waitpid(pid, 0)
    number, _, reason = answer.partition(" ")
    if not reason:
        raise OSError(errno.EIO, f"the daemon ended before the mount answered ({_how(status)})")
    raise OSError(int(number), reason)


def end(pid: int) -> None:
    """End the daemon *pid* that start() returned, and wait until it has ended."""
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def close_inherited(*keep: int) -> None:
    """Close what the process that started us had open, but for stdin, stdout, stderr and *keep*.

    Where one of the three is closed, it is /dev/null: what is opened later must not take its number.
    """
    begin = 3
    for number in sorted(keep):
        os.closerange(begin, number)
        begin = number + 1
    os.closerange(begin, _HIGHEST)
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)


def _run(serve: Callable[[Callable[[], None]], None], writer: int) -> NoReturn:
    is_ready = False

    def ready() -> None:
        nonlocal is_ready
        os.write(writer, _READY.encode())
        os.close(writer)
        is_ready = True

    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(null)
        serve(ready)
        status = 0
    except BaseException as error:
        if is_ready:  # nobody listens any more
            log.exception("the daemon has failed and ends")
        else:
            os.write(writer, _reason(error).encode("utf-8", "surrogateescape"))
    finally:
        sys.stdout.flush()
        os._exit(status)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.errno or errno.EIO} {describe(error)}"
    return f"{errno.EIO} {type(error).__name__}: {error}"


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"
