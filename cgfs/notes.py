"""What came through a control file: a note in a trusted extended attribute of the cgroup's directory.

The kernel says what is attached; the note says which of it came through the file, by whom and when, and what is inside
a program of ours. It is never believed against the kernel: what is noted counts only while that program, by its id and
the time of its load, is attached directly. Owns the form of the attribute; cgfs/filters.py decides what to note, and
when. The attribute goes with the cgroup. A trusted attribute is root's: a delegate cannot forge it (xattr(7)).
"""

import json
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from cgfs.cgroup import get_xattr, remove_xattr, set_xattr
from cgfs.control import ControlFile

_VERSION = 1


class Kind(Enum):
    """What a noted program is to cgfs: somebody's own, the guard of a nonrecursive one, or a text filter's."""

    PROGRAM = "program"
    GUARD = "guard"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who did it, and when (CLOCK_REALTIME). *pid* is 0 for somebody whom the daemon cannot see."""

    uid: int
    pid: int
    comm: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class NotedProgram:
    """A program that came through the file."""

    id: int
    loaded_at_ns: int
    kind: Kind
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Note:
    """*programs* are one, or two while one is replaced by the other; *last* is the last change through the file."""

    programs: tuple[NotedProgram, ...] = ()
    last: Stamp | None = None

    def find(self, prog_id: int, loaded_at_ns: int) -> NotedProgram | None:
        for program in self.programs:
            if (program.id, program.loaded_at_ns) == (prog_id, loaded_at_ns):
                return program
        return None


def read(cgroup_fd: int, file: ControlFile) -> Note:
    """The note of *file*, empty where there is none, or none that makes sense."""
    data = get_xattr(cgroup_fd, attribute(file))
    if data is None:
        return Note()
    return _decode(data)


def write(cgroup_fd: int, file: ControlFile, note: Note) -> None:
    """Make *note* the note of *file*."""
    if note == Note():
        remove_xattr(cgroup_fd, attribute(file))
    else:
        set_xattr(cgroup_fd, attribute(file), _encode(note))


def attribute(file: ControlFile) -> str:
    """The name of the extended attribute."""
    return f"trusted.cgfs.{file.name}"


def _encode(note: Note) -> bytes:
    programs = [
        {
            "id": each.id,
            "loaded_at_ns": each.loaded_at_ns,
            "kind": each.kind.value,
            "stamp": _stamp_fields(each.stamp),
        }
        for each in note.programs
    ]
    last = None if note.last is None else _stamp_fields(note.last)
    return json.dumps({"version": _VERSION, "programs": programs, "last": last}).encode("ascii")


def _stamp_fields(stamp: Stamp) -> dict[str, Any]:
    return {"uid": stamp.uid, "pid": stamp.pid, "comm": stamp.comm, "at_ns": stamp.at_ns}


@lru_cache(maxsize=256)
def _decode(data: bytes) -> Note:
    """The same for the same bytes: the attribute itself is asked for each time."""
    try:
        value = json.loads(data)
        if value["version"] != _VERSION:
            return Note()
        programs = tuple(
            NotedProgram(int(each["id"]), int(each["loaded_at_ns"]), Kind(each["kind"]), _stamp(each["stamp"]))
            for each in value["programs"]
        )
        return Note(programs, None if value["last"] is None else _stamp(value["last"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Note()


def _stamp(value: dict[str, Any]) -> Stamp:
    if not 0 <= int(value["at_ns"]) < 2**63:
        raise ValueError("no time is so far away")
    return Stamp(int(value["uid"]), int(value["pid"]), str(value["comm"]), int(value["at_ns"]))
