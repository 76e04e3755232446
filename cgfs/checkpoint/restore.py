"""Makes a subtree's control files say again what a document says: all of it, or nothing.

What cannot be restored, or could not be put back if a later step failed, is named before anything is changed. The
permissions of the files decide: this runs as whoever calls it.

Order: cgroups from the top down, so that what holds for all descendants holds first. In a file: the content, then
owner and mode, as the kernel drops set-id bits at a chown. Filters of the two kernel modes (MULTI and overridable)
cannot replace each other in one step: `none` is written in between, here as by hand.
"""

import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cgfs import client
from cgfs.checkpoint.document import Document, FileState
from cgfs.checkpoint.save import file_state, lines_of
from cgfs.control import ControlFile, Mode, NoneCommand, SetProgram, by_name, parse
from cgfs.text_filter import parse_text

log = logging.getLogger(__name__)

NONE = "none\n"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Change:
    """A control file that says something else than the document."""

    path: Path
    before: FileState
    after: FileState


KnowsProgram = Callable[[ControlFile, str], bool]
"""Whether the program store has a program for this file, of this tag, that may be used."""


class CannotRestoreError(OSError):
    """Nothing was changed: *problems* say, a line each, what stands in the way. errno EINVAL."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(errno.EINVAL, "nothing was restored: " + "; ".join(problems))


def plan(document: Document, top: Path, knows_program: KnowsProgram) -> list[Change]:
    """What has to change below *top*, parents first. Raises CannotRestoreError."""
    changes: list[Change] = []
    problems: list[str] = []
    for relative, files in sorted(document.cgroups.items(), key=lambda item: Path(item[0]).parts):
        for name, after in files.items():
            path = top / relative / name
            try:
                before = file_state(path)
            except FileNotFoundError:
                problems.append(f"{path.parent} is no cgroup: make it first")
                break
            if before == after:
                continue
            changes.append(Change(path, before, after))
            if before.content != after.content:
                problems += _problems(path, after, knows_program, "cannot be restored")
                problems += _problems(path, before, knows_program, "could not be put back if a later step failed")
    if problems:
        raise CannotRestoreError(problems)
    return changes


def apply(changes: Iterable[Change]) -> None:
    """Carry out *changes*. Where one fails, or a signal ends it, those before it are undone, and its OSError, or
    KeyboardInterrupt, is raised.
    """
    done: list[Change] = []
    with contextlib.ExitStack() as undo:
        with _ended_by_signals():
            for change in changes:
                undo.callback(_put_back, change)
                set_state(change.path, change.before, change.after)
                done.append(change)
        undo.pop_all()
    for change in done:
        _name_what_others_have(change)


def _name_what_others_have(change: Change) -> None:
    """What somebody else has attached is his: it stays beside what is restored."""
    with contextlib.suppress(OSError):  # it may be for others only to read
        others = [line for line in lines_of(file_state(change.path)) if line not in lines_of(change.after)]
        if others:
            log.warning("%s: somebody else has attached %s, which stays", change.path, " and ".join(others))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals raise KeyboardInterrupt in the `with` block. If an error leaves that, they end nothing from then on."""
    heeded = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]  # nohup(1) has some ignored
    for number in heeded:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except BaseException:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)
        raise


def set_state(path: Path, before: FileState, after: FileState) -> None:
    """Take the control file at *path* from *before* to *after*. Raises OSError."""
    if before.content != after.content:
        if after.content == NONE or _kernel_mode(before) != _kernel_mode(after):
            client.detach(path)
        if after.content != NONE:
            client.write(path, after.content)
    if (before.uid, before.gid) != (after.uid, after.gid):
        os.chown(path, after.uid, after.gid)
    if before.mode != after.mode:
        path.chmod(after.mode)


def _put_back(change: Change) -> None:
    """Undo *change*, done whole or in part."""
    try:
        now = file_state(change.path)
        set_state(change.path, now, change.before)
    except OSError as error:
        log.error("%s could not be put back to %r: %s", change.path, change.before.content, error)


def _kernel_mode(state: FileState) -> Mode | None:
    """DEFAULT, where nonrecursive counts as such: both are MULTI to the kernel. None where nothing is attached."""
    commands = [parse(line.encode("ascii")) for line in lines_of(state)]
    modes = {command.mode for command in commands if not isinstance(command, NoneCommand)}
    if not modes:
        return None
    return Mode.OVERRIDABLE if Mode.OVERRIDABLE in modes else Mode.DEFAULT


def _problems(path: Path, state: FileState, knows_program: KnowsProgram, what: str) -> list[str]:
    lines = lines_of(state)
    if len(lines) != 1:
        return [f"{path}: {' and '.join(lines)} {what}: it came from several hands, each of which restores its own"]
    file = by_name(path.name)
    try:
        command = parse(lines[0].encode("ascii"))
        if isinstance(command, SetProgram) and not knows_program(file, command.tag):
            return [f"{path}: {lines[0]} {what}: the program store has no such program (`cgfs program add FILE.o`)"]
        if not isinstance(command, NoneCommand | SetProgram):
            parse_text(command.text, file)
    except OSError as error:
        return [f"{path}: {lines[0][:80]!r} {what}: {error.strerror}"]
    return []
