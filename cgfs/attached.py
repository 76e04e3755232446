"""What is attached to a cgroup, and so what a control file says.

Asked of the kernel each time, whoever attached it; nothing is kept. The note of the file (cgfs/notes.py) adds which of
it came through the file. Changes nothing.

Sources: compute_effective_progs() in kernel/bpf/cgroup.c for the order in which programs run.
"""

import errno
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from cgfs import bpf, guard, notes, text_filter
from cgfs.bpf import AttachedProgram, AttachedPrograms, AttachFlags, Program
from cgfs.control import Mode, content, program_line, text_line
from cgfs.descriptor import Descriptor
from cgfs.notes import Kind, Note, NotedProgram
from cgfs.target import Target

_TRIES = 1000
_SECOND_NS = 10**9


class How(Enum):
    """How a program came to be attached."""

    FILE = "through the control file"
    DIRECT = "directly, by somebody else"
    LINK = "by a bpf_link"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attached program and its line in the file. *noted* is what the note says of one that came through the file."""

    info: AttachedProgram
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
    def lasting(self) -> bool:
        """Whether this is true for as long as the revision and the note are the same. It is not where there is a guard:
        what it runs can be exchanged; nor where the note names what is not attached: that may be about to change back;
        nor where there are several: in which order they run is known by what is attached above.
        """
        if len(self.attachments) > 1:
            return False
        noted = [each.noted for each in self.attachments if each.noted is not None]
        return len(noted) >= len(self.note.programs) and all(each.kind is not Kind.GUARD for each in noted)

    @property
    def changed_at_ns(self) -> int:
        """A time of the last change, as far as it is known, in whole seconds; below them what is another number after
        each change. (Of a file that nobody has touched, untouched_attributes() in native/mirror/control_known.c says
        the same.)
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
    try:
        found = bpf.attached(target.cgroup_fd, target.file.attach_type)
        note = notes.read(target.cgroup_fd, target.file)
        if not found.programs:
            return State(found.flags, found.revision, (), note)
        ask_for_links = with_links or _links_matter(note, found)
        links = bpf.links(target.cgroup_id, target.file.attach_type) if ask_for_links else ()
        programs = found.programs if len(found.programs) == 1 else _in_running_order(target, found.programs)
        if (len(programs) > 1 or links) and bpf.attached(target.cgroup_fd, target.file.attach_type) != found:
            return None
        attachments = tuple(
            _describe(target, found.flags, note, program, by_link=by_link)
            for program, by_link in zip(programs, _by_link(programs, links), strict=True)
        )
    except (BlockingIOError, FileNotFoundError):  # a program was let go
        return None
    return State(found.flags, found.revision, attachments, note)


def _by_link(programs: tuple[AttachedProgram, ...], links: tuple[bpf.Link, ...]) -> list[bool]:
    """Which of *programs* are attached by *links*; where the same one is attached directly, too, that comes first."""
    if not links:
        return [False] * len(programs)
    linked = Counter(link.prog_id for link in links)
    left = Counter(program.id for program in programs)
    answer = []
    for program in programs:
        answer.append(linked[program.id] >= left[program.id])
        left[program.id] -= 1
    return answer


def _in_running_order(target: Target, programs: tuple[AttachedProgram, ...]) -> tuple[AttachedProgram, ...]:
    by_id = {program.id: program for program in programs}
    own = tuple(program.id for program in programs)
    effective = bpf.query(target.cgroup_fd, target.file.attach_type, effective=True)
    places = places_of(own, effective, _effective_above(target)) or places_of(own, effective)
    order = effective[places[0] : places[0] + len(own)] if places else own
    return tuple(by_id[prog_id] for prog_id in order)


def _effective_above(target: Target) -> tuple[int, ...]:
    """What runs for the parent of the cgroup; nothing, where that cannot be seen: above the root of a mount `..` is on
    another file system.
    """
    try:
        with Descriptor(os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target.cgroup_fd)) as parent:
            return bpf.query(parent.fd, target.file.attach_type, effective=True)
    except OSError:
        return ()


def places_of(own: tuple[int, ...], effective: tuple[int, ...], above: tuple[int, ...] | None = None) -> list[int]:
    """Where the programs *own* of a cgroup may begin in what runs there, *effective*: they stand together in it, and
    the rest, left and right, is what runs for its parent, *above*, if that is given.

    The most likely comes first: where they are in the order in which they were attached. With BPF_F_PREORDER it is
    another, and programs of the ancestors may stand before them.
    """
    end, wanted = len(effective) - len(own) + 1, sorted(own)
    places = [
        begin
        for begin in range(end)
        if sorted(effective[begin : begin + len(own)]) == wanted
        and above in (None, effective[:begin] + effective[begin + len(own) :])
    ]
    return sorted(places, key=lambda begin: effective[begin : begin + len(own)] != own)


def _links_matter(note: Note, found: AttachedPrograms) -> bool:
    """Whether the lines depend on them: a guard or a text filter is shown as such, unless a link attaches it."""
    ids = [program.id for program in found.programs]
    return any(program.kind is not Kind.PROGRAM and program.id in ids for program in note.programs)


def _describe(target: Target, flags: AttachFlags, note: Note, info: AttachedProgram, *, by_link: bool) -> Attachment:
    noted = None if by_link else note.find(info.id, info.loaded_at_ns)
    how = How.LINK if by_link else How.DIRECT if noted is None else How.FILE
    mode = Mode.OVERRIDABLE if flags & AttachFlags.ALLOW_OVERRIDE else Mode.DEFAULT
    line = None if noted is None or noted.kind is Kind.PROGRAM else _line_of_ours(target, mode, noted)
    return Attachment(info, how, noted, line or program_line(info.tag, mode))


def _line_of_ours(target: Target, mode: Mode, noted: NotedProgram) -> str | None:
    """The line of a guard or a text filter; None if it is none. Raises OSError: ENOENT if it was let go."""
    with Program.by_id(noted.id) as program:
        if noted.kind is Kind.GUARD:
            inside = guard.inside_of(program, target.file, target.cgroup_id)
            return None if inside is None else program_line(inside.tag, Mode.NONRECURSIVE)
        stored = text_filter.text_of(program)
    if stored is None or stored.only_cgroup_id not in (None, target.cgroup_id):
        return None
    return text_line(stored.text, mode if stored.only_cgroup_id is None else Mode.NONRECURSIVE)


@lru_cache(maxsize=1)
def booted_at_s() -> int:
    """CLOCK_REALTIME of CLOCK_BOOTTIME's 0, as the kernel says it: the same for every daemon.

    Raises OSError: ENOENT where /proc has processes only. The settings by which it is decided who may attach are
    not there either.
    """
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise OSError(
            errno.ENOENT, "cgfs needs all of /proc: here it is mounted with subset=pid, or not at all"
        ) from None
    for line in lines:
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0
