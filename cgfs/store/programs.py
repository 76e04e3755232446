"""The program store as a whole: what it has, what a tag means for a user, and what came through the ioctl."""

import errno
from collections.abc import Iterator
from itertools import chain

from cgfs import bpffs
from cgfs.bpf import Program
from cgfs.control import ControlFile
from cgfs.store.choose import choose
from cgfs.store.entry import Entry, Origin, User
from cgfs.store.objects import DIRECTORY, ObjectStore
from cgfs.store.pins import PinStore

PINS = "programs"


class ProgramStore:
    """Objects and pins together, each in its directory."""

    def __init__(self, objects: ObjectStore, pins: PinStore) -> None:
        self.objects = objects
        self.pins = pins

    def entries(self) -> Iterator[Entry]:
        return chain(self.objects.entries(), self.pins.entries())

    def find(self, file: ControlFile, tag: str, user: User) -> Program:
        """The program that `bpf:<tag>` in *file* means for *user*; the caller owns it then.

        Raises OSError: EINVAL if there is none that *user* may use, or more than one (see `choose`).
        """
        entry = self._chosen(file, tag, user)
        if entry.origin is Origin.OBJECT:
            return self.objects.load(entry, file)
        return self.pins.load(entry)

    def knows(self, file: ControlFile, tag: str, user: User) -> bool:
        """Whether find() would find a program. Raises OSError where that cannot be found out."""
        try:
            self._chosen(file, tag, user)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def _chosen(self, file: ControlFile, tag: str, user: User) -> Entry:
        """Of pins those alone are opened that may be meant: others have as many as they may."""
        entries = chain(self.objects.entries(), self.pins.entries(uid=user.uid, tag=tag))
        return choose(entries, tag, file.prog_type, user)


def default_store(*, make: bool = False) -> ProgramStore:
    """The machine's store. Who is going to pin programs has the bpf file system for them mounted: *make*.

    Raises OSError where *make* fails, as bpffs.directory() does.
    """
    pins = bpffs.directory(PINS) if make else bpffs.MOUNTPOINT / PINS
    return ProgramStore(ObjectStore(DIRECTORY), PinStore(pins))
