"""What is attached to a cgroup, and so what a control file says.

Asked of the kernel each time, whoever attached it; nothing is kept. The note of the file (cgfs/notes.py) adds which of
it came through the file. Changes nothing.

Sources: compute_effective_progs() in kernel/bpf/cgroup.c for the order in which programs run.
"""

import errno
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from cgfs import bpf, guard, notes, text_filter
from cgfs.bpf import AttachFlags, Program, ProgramInfo
from cgfs.control import ControlFile, Mode, content, program_line, text_line
from cgfs.notes import Kind, Note, NotedProgram

_TRIES = 1000
_SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Target:
    """A control file of the cgroup with the id *cgroup_id*, whose directory is open as *cgroup_fd* (borrowed)."""

    cgroup_fd: int
    cgroup_id: int
    file: ControlFile


class How(Enum):
    """How a program came to be attached."""

    FILE = "through the control file"
    DIRECT = "directly, by somebody else"
    LINK = "by a bpf_link"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attached program and its line in the file. *noted* is what the note says of one that came through the file."""

    info: ProgramInfo
    how: How
    noted: NotedProgram | None
    line: str


@dataclass(frozen=True, slots=True)
class State:
    """What is attached, in the order in which it runs. *flags* are those of the cgroup, for all of it."""

    flags: AttachFlags
    revision: int
    attachments: tuple[Attachment, ...]
    note: Note

    @property
    def content(self) -> bytes:
        return content([attachment.line for attachment in self.attachments])

    @property
    def changed_at_ns(self) -> int:
        """A time of the last change, as far as it is known, in whole seconds; below them what is another number after
        each change.
        """
        seconds = [booted_at_s() + attachment.info.loaded_at_ns // _SECOND_NS for attachment in self.attachments]
        if self.note.last is not None:
            seconds.append(self.note.last.at_ns // _SECOND_NS)
        count = self.revision or zlib.crc32(self.content)
        return max(seconds, default=booted_at_s()) * _SECOND_NS + count % _SECOND_NS


def observe(target: Target, *, with_links: bool = False) -> State:
    """What is attached now. Whether a program is attached by a link, which takes long to find out, is certain only
    *with_links*; the lines are right without.

    Raises OSError: ENODEV if the cgroup is gone.
    """
    for _ in range(_TRIES):
        state = _observe_once(target, with_links=with_links)
        if state is not None:
            return state
    raise OSError(errno.EBUSY, f"{target.file.name} has changed during each of {_TRIES} tries to read it")


def _observe_once(target: Target, *, with_links: bool) -> State | None:
    """None if there was a change meanwhile."""
    file = target.file
    query = bpf.query(target.cgroup_fd, file.attach_type)
    note = notes.read(target.cgroup_fd, file)
    ids = query.ids
    if len(ids) > 1:
        ids = running_order(ids, bpf.query(target.cgroup_fd, file.attach_type, effective=True).ids)
    linked: Counter[int] = Counter()
    if ids and (with_links or _says_what_is_inside(note, ids)):
        linked.update(link.prog_id for link in bpf.links(target.cgroup_id, file.attach_type))
    if (len(ids) > 1 or linked) and bpf.query(target.cgroup_fd, file.attach_type) != query:
        return None
    attachments: list[Attachment] = []
    for prog_id in ids:
        by_link = linked[prog_id] >= ids.count(prog_id) - sum(each.info.id == prog_id for each in attachments)
        try:
            with Program.by_id(prog_id) as program:
                attachments.append(_describe(target, query.flags, note, program, by_link=by_link))
        except FileNotFoundError:
            return None
    return State(query.flags, query.revision, tuple(attachments), note)


def running_order(own: tuple[int, ...], effective: tuple[int, ...]) -> tuple[int, ...]:
    """*own* in the order in which they run: a cgroup's own programs stand together in *effective*."""
    if _stands_in(own, effective):
        return own
    wanted = sorted(own)
    for start in range(len(effective) - len(own) + 1):
        part = effective[start : start + len(own)]
        if sorted(part) == wanted:
            return part
    return own


def _stands_in(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _says_what_is_inside(note: Note, ids: Iterable[int]) -> bool:
    return any(program.kind is not Kind.PROGRAM and program.id in ids for program in note.programs)


def _describe(target: Target, flags: AttachFlags, note: Note, program: Program, *, by_link: bool) -> Attachment:
    info = program.info()
    noted = None if by_link else note.find(info.id, info.loaded_at_ns)
    how = How.LINK if by_link else How.DIRECT if noted is None else How.FILE
    return Attachment(info, how, noted, _line(target, flags, noted, program, info))


def _line(target: Target, flags: AttachFlags, noted: NotedProgram | None, program: Program, info: ProgramInfo) -> str:
    mode = Mode.OVERRIDABLE if flags & AttachFlags.ALLOW_OVERRIDE else Mode.DEFAULT
    if noted is not None and noted.kind is Kind.GUARD:
        inside = guard.inside_of(program, target.file, target.cgroup_id)
        if inside is not None:
            return program_line(inside.tag, Mode.NONRECURSIVE)
    if noted is not None and noted.kind is Kind.TEXT:
        stored = text_filter.text_of(program)
        if stored is not None and stored.only_cgroup_id in (None, target.cgroup_id):
            return text_line(stored.text, mode if stored.only_cgroup_id is None else Mode.NONRECURSIVE)
    return program_line(info.tag, mode)


@lru_cache(maxsize=1)
def booted_at_s() -> int:
    """CLOCK_REALTIME of CLOCK_BOOTTIME's 0, as the kernel says it: the same for every daemon."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0
