"""Whoever has started a daemon in the foreground and watches over it: systemd, s6, a script.

Owns how it is told that the mount answers, and the form in which it takes the log.
Sources: sd_notify(3), sd-daemon(3), systemd.exec(5) for JOURNAL_STREAM; that of s6, for a line on a descriptor.
"""

import contextlib
import logging
import os
import socket
from logging.handlers import SysLogHandler


def say_ready(ready_fd: int | None) -> None:
    """Tell systemd, where it asked to be told (NOTIFY_SOCKET), and write `ready` to *ready_fd*, which is closed.

    Whoever does not listen any more is no error.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)
    if ready_fd is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(ready_fd, b"ready\n")
        os.close(ready_fd)


def log_formatter() -> logging.Formatter:
    """For stderr: as the journal takes it, where stderr is the journal's."""
    if _stderr_is_the_journals():
        return _JournalFormatter("%(message)s")
    return logging.Formatter("%(asctime)s %(levelname)s %(message)s")


def _stderr_is_the_journals() -> bool:
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


class _JournalFormatter(logging.Formatter):
    """Begins each line with its priority. The journal has the time, and who writes, itself."""

    def format(self, record: logging.LogRecord) -> str:
        name = SysLogHandler.priority_map.get(record.levelname, "warning")
        priority = SysLogHandler.priority_names[name]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))
