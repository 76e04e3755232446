"""An entry of the program store, wherever it is kept, and who may use it."""

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cgfs.bpf import Program, ProgType


class Origin(Enum):
    """How a program came into the store, and so how long it stays."""

    OBJECT = "object"
    PIN = "pin"

    @property
    def survives_reboot(self) -> bool:
        return self is Origin.OBJECT


@dataclass(frozen=True, slots=True)
class Entry:
    """One program in the store.

    *key* tells entries of one origin apart: `SHA256:FUNCTION` of an object, the file name of a pin. *content* is equal
    for two entries that do the same: which of them is attached makes no difference (see `instructions_of`).
    """

    origin: Origin
    key: str
    content: str
    path: Path
    tag: str
    prog_type: ProgType
    name: str
    uid: int
    gid: int
    mode: int


def instructions_of(program: Program) -> str | None:
    """The SHA-256 of the instructions of *program* (borrowed); None if it has maps, with which it is like no other."""
    return None if program.info().map_ids else hashlib.sha256(program.instructions()).hexdigest()


@dataclass(frozen=True, slots=True)
class User:
    """Whoever wants to use an entry: fsuid, fsgid and supplementary groups; *override* is CAP_DAC_OVERRIDE."""

    uid: int
    groups: frozenset[int]
    override: bool = False

    def owns(self, entry: Entry) -> bool:
        return entry.uid == self.uid

    def may_use(self, entry: Entry) -> bool:
        """Whether the permission bits of *entry* let this user read it, as path_resolution(7) has it.

        A pin is its owner's only, whoever may override its bits: it is his very program, which he can detach again by
        its descriptor, and whose maps are his.
        """
        if entry.origin is Origin.PIN:
            return self.owns(entry)
        if self.override:
            return True
        if self.owns(entry):
            return bool(entry.mode & 0o400)
        if entry.gid in self.groups:
            return bool(entry.mode & 0o040)
        return bool(entry.mode & 0o004)
