"""inotify(7), which Python has no module for: what a watcher sees, as words.

Use: `with Watcher(path) as watcher`, something that is to be seen, `watcher.wait_for(Event.CREATE, "a")`.
"""

import ctypes
import os
import select
import struct
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from types import TracebackType

from tests.support.waiting import DEADLINE_S, Overdue

_libc = ctypes.CDLL(None, use_errno=True)
_IN_NONBLOCK = os.O_NONBLOCK
_HEADER = struct.Struct("=iIII")


class Event(IntFlag):
    """include/uapi/linux/inotify.h: those that cgroup2 raises."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400


@dataclass(frozen=True, slots=True)
class Seen:
    event: Event
    name: str


class Watcher:
    """One inotify watch on one file or directory; `seen` is all that came so far, in order."""

    def __init__(self, path: Path, events: Event = Event.MODIFY | Event.CREATE | Event.DELETE) -> None:
        self.seen: list[Seen] = []
        self._fd = _checked(_libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC), path)
        try:
            _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), int(events)), path)
        except OSError:
            os.close(self._fd)
            raise

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def wait_for(self, event: Event, name: str = "") -> None:
        """Take events until *event* of *name* (empty: of what is watched itself) is among those seen."""
        while Seen(event, name) not in self.seen:
            if not select.select([self._fd], [], [], DEADLINE_S)[0]:
                raise Overdue(f"no {event!r} of {name or 'the file'} within {DEADLINE_S:.0f} s, but {self.seen}")
            self.take()

    def take(self) -> list[Seen]:
        """Everything seen so far, with what is there now."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            data = b""
        while data:
            _, mask, _, length = _HEADER.unpack_from(data)
            name = data[_HEADER.size : _HEADER.size + length].rstrip(b"\0").decode()
            self.seen += [Seen(event, name) for event in Event if mask & event]
            data = data[_HEADER.size + length :]
        return self.seen


def _checked(result: int, path: Path) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return result
