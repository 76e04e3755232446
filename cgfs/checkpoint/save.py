"""Writes down the control files of a subtree of a mirror. Changes nothing."""

import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cgfs.bpf import ProgType
from cgfs.checkpoint.document import Document, FileState
from cgfs.control import CONTROL_FILES, SetProgram, by_name, parse
from cgfs.errors import printable
from cgfs.hierarchy import leaves_out
from cgfs.store.objects import ObjectStore

log = logging.getLogger(__name__)


def file_state(path: Path) -> FileState:
    """The control file at *path*, as it is now. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        content = file.readall() or b""
        status = os.fstat(file.fileno())
    return FileState(content.decode("ascii"), status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def save(top: Path, cgroups: Iterable[Path], programs: ObjectStore | None = None) -> Document:
    """The document of *cgroups*, all of them below *top*, with the objects of *programs* that they name.

    Raises OSError: what reading the files gives, but for a cgroup that is gone.
    """
    found = {}
    for cgroup in cgroups:
        try:
            states = {file.name: file_state(cgroup / file.name) for file in CONTROL_FILES}
        except OSError as error:
            if not leaves_out(error, cgroup, top):
                raise
            continue
        for name, state in states.items():
            if len(lines_of(state)) > 1:
                words = "cannot be restored: it came from several hands, each of which restores its own"
                log.warning("%s %s", printable(str(cgroup / name)), words)
        found[str(cgroup.relative_to(top))] = states
    document = Document(found)
    if programs is not None:
        document.programs.update(_objects(document, programs))
    return document


def lines_of(state: FileState) -> list[str]:
    return state.content.removesuffix("\n").split("\n")


def missing_programs(document: Document, programs: ObjectStore) -> list[str]:
    """The tags in *document* that no object of the store has, for the files in which they are."""
    missing = _named(document) - {(entry.prog_type, entry.tag) for entry in programs.entries()}
    return sorted({tag for _, tag in missing})


def _named(document: Document) -> set[tuple[ProgType, str]]:
    """The programs of all `bpf:` lines in *document*."""
    found = set()
    for files in document.cgroups.values():
        for name, state in files.items():
            commands = (parse(line.encode("ascii")) for line in lines_of(state))
            tags = (command.tag for command in commands if isinstance(command, SetProgram))
            found |= {(by_name(name).prog_type, tag) for tag in tags}
    return found


def _objects(document: Document, programs: ObjectStore) -> dict[str, bytes]:
    wanted = _named(document)
    digests = {entry.key.partition(":")[0] for entry in programs.entries() if (entry.prog_type, entry.tag) in wanted}
    return {digest: programs.content(digest) for digest in sorted(digests)}
