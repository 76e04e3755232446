"""What is in force for a cgroup: each program that runs for it, and the cgroup that it is attached to.

What runs is what the kernel says, to root only. It does not say where each is attached: that follows from what is
attached to each cgroup from the root down, and from what runs there. Reads only.

Sources: compute_effective_progs() in kernel/bpf/cgroup.c.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cgfs import bpf, guard
from cgfs.attached import Attachment, observe, places_of
from cgfs.cgroup import cgroup_id, open_cgroup, open_root
from cgfs.control import ControlFile
from cgfs.target import Target
from cgfs.text_filter import Counters, counters, text_of


@dataclass(frozen=True, slots=True)
class InForce:
    """A program that runs for a cgroup.

    *cgroup* is the one that it is attached to, as a path from the root on; *attachment* is how, and *flags* with which.
    All are None for one above what can be seen here (a cgroup namespace). *program* is what runs; *guard_id*, if any,
    what is attached to run it for one cgroup only. *counters* is what a text filter has let through and what not.
    """

    cgroup: str | None
    own: bool
    attachment: Attachment | None
    flags: bpf.AttachFlags | None
    program: bpf.ProgramInfo
    guard_id: int | None
    counters: Counters | None

    @property
    def line(self) -> str | None:
        """What the control file there says of it."""
        return None if self.attachment is None else self.attachment.line

    @property
    def is_exclusive(self) -> bool:
        """Whether it was attached with flags 0, as cgfs never does: it binds less than it seems to."""
        return self.flags == bpf.AttachFlags(0)


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A cgroup on the way to the root: its directory (borrowed), and its path from there."""

    fd: int
    path: str


@contextlib.contextmanager
def ancestors(cgroup: Path) -> Iterator[list[Ancestor]]:
    """*cgroup* (on a mirror), its parent, and so on to the root, each opened. Raises OSError: EPERM if not root."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(open_root())
        fd = stack.enter_context(open_cgroup(root.fd, cgroup.stat().st_ino)).fd
        chain = [Ancestor(fd, _path_of(fd))]
        while chain[-1].path != "/":
            fd = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            stack.callback(os.close, fd)
            chain.append(Ancestor(fd, _path_of(fd)))
        yield chain


def _path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def in_force(chain: list[Ancestor], file: ControlFile) -> Iterator[InForce]:
    """What runs for chain[0], in that order."""
    for prog_id, level, attachment in _running(chain, file):
        try:
            program = bpf.Program.by_id(prog_id)
        except FileNotFoundError:  # it was let go
            continue
        own = level is not None and level.fd == chain[0].fd
        with program:
            inside = None if level is None else guard.inside_of(program, file, level.cgroup_id)
            if level is not None and not own and (inside or _is_for(level.cgroup_id, program)):
                continue  # the kernel runs it here as well, and it lets everything through
            yield InForce(
                cgroup=None if level is None else level.path,
                own=own,
                attachment=attachment,
                flags=None if level is None else level.flags,
                program=inside or program.info(),
                guard_id=None if inside is None else prog_id,
                counters=counters(program),
            )


def _is_for(cgroup_id: int, program: bpf.Program) -> bool:
    """Whether *program* is a text filter for that cgroup's own members only."""
    stored = text_of(program)
    return stored is not None and stored.only_cgroup_id == cgroup_id


class _Level:
    """What is attached to one of the ancestors itself."""

    def __init__(self, ancestor: Ancestor, file: ControlFile) -> None:
        self.fd = ancestor.fd
        self.path = ancestor.path
        self.cgroup_id = cgroup_id(ancestor.fd)
        state = observe(Target(self.fd, self.cgroup_id, file), with_links=True)
        self.flags = state.flags
        self.attachments = state.attachments
        self.ids = tuple(attachment.info.id for attachment in state.attachments)


class _Running(NamedTuple):
    """A program that runs for a cgroup: where it is attached, and how; None where that cannot be seen."""

    prog_id: int
    level: _Level | None
    attachment: Attachment | None


def _running(chain: list[Ancestor], file: ControlFile) -> list[_Running]:
    """What runs for chain[0], in that order."""
    running: list[_Running] = []
    for ancestor in reversed(chain):
        effective = bpf.query(ancestor.fd, file.attach_type, effective=True)
        running = _below(running, _Level(ancestor, file), effective)
    return running


def _below(above: list[_Running], level: _Level, effective: tuple[int, ...]) -> list[_Running]:
    """What runs at *level*: the kernel's list, and *above* is what runs at its parent's."""
    if level.ids:  # else what is attached to the nearest runs, whatever its flags
        above = [each for each in above if each.level is None or bpf.AttachFlags.ALLOW_MULTI in each.level.flags]
    places = places_of(level.ids, effective, tuple(each.prog_id for each in above))
    if not places:  # something was changed meanwhile, or what is above cannot be seen
        return [_nearest(prog_id, level, above) for prog_id in effective]
    begin = places[0]
    own = effective[begin : begin + len(level.ids)]
    if own == level.ids:
        share = [_Running(each.info.id, level, each) for each in level.attachments]
    else:  # it has changed meanwhile
        share = [_attached_here(prog_id, level) for prog_id in own]
    return above[:begin] + share + above[begin:]


def _nearest(prog_id: int, level: _Level, above: list[_Running]) -> _Running:
    if prog_id in level.ids:
        return _attached_here(prog_id, level)
    return next((each for each in above if each.prog_id == prog_id), _Running(prog_id, None, None))


def _attached_here(prog_id: int, level: _Level) -> _Running:
    return _Running(prog_id, level, level.attachments[level.ids.index(prog_id)])
