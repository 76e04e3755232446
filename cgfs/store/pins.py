"""Programs that came through the ioctl, kept as pins in bpffs in the attacher's name until the reboot.

A pin is DIRECTORY/UID-ID-TAG: the attacher's uid, the program's id and tag, owned by that uid, mode 0600. It keeps the
program with its live maps. Two quotas bound what one user keeps: so many programs, and so many bytes of the kernel's
memory, maps included. The oldest goes first, since a program that is attached stays attached without its pin. One that
is too large by itself, or has maps of which nobody can say how large they become, is not kept.
"""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cgfs.bpf import Map, MapType, Program
from cgfs.store.entry import Entry, Origin, instructions_of

QUOTA = 64
QUOTA_BYTES = 64 << 20
_MOST_REMEMBERED = 1024
_BOUNDLESS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.ARENA})
"""The types of maps that come to hold more memory than they say: that of other maps, or of an arena's pages. Those of
local storage do, too, and have no largest number of entries.
"""
PIN_NAME = re.compile(r"(?P<uid>\d+)-(?P<id>\d+)-(?P<tag>[0-9a-f]{16})")


class PinStore:
    """The pins in *directory*, a root-owned directory in a bpffs."""

    def __init__(self, directory: Path, *, quota: int = QUOTA, quota_bytes: int = QUOTA_BYTES) -> None:
        self.directory = directory
        self.quota = quota
        self.quota_bytes = quota_bytes
        self._kept: dict[tuple[int, int, int], Path] = {}
        """Where a program was found, or put, for a user. It may have been removed since."""

    def keep(self, program: Program, uid: int, gid: int) -> None:
        """Pin *program* (borrowed) for *uid*; one that is kept already, or does the same, stays as it is.

        Raises OSError EDQUOT if it is more by itself than one user may keep.
        """
        info = program.info()
        key = uid, info.id, info.loaded_at_ns  # an id may be used again
        kept = self._kept.get(key)
        if kept is not None and kept.exists():
            return
        path = self.directory / f"{uid}-{info.id}-{info.tag}"
        kept = path if path.exists() else self._alike(program, uid, info.tag)
        if kept is None:
            kept = path
            self._make_room(uid, _memory_of(program))
            program.pin(kept)
        os.chmod(kept, 0o600)
        os.chown(kept, uid, gid)  # one that was here, too: a daemon may have been killed before it came to this
        if len(self._kept) >= _MOST_REMEMBERED:
            self._kept.clear()
        self._kept[key] = kept

    def remove(self, key: str) -> None:
        """Remove the pin named *key*. Raises OSError ENOENT if it is not there."""
        if not PIN_NAME.fullmatch(key):
            raise FileNotFoundError(f"no pin is named {key}; `cgfs program list` shows the names")
        (self.directory / key).unlink()

    def entries(self, *, uid: int | None = None, tag: str | None = None) -> Iterator[Entry]:
        """All pins; of *uid* only, and of *tag*, if they are given. What others put into the directory is no entry.

        Raises OSError where there is no descriptor or no memory left to look.
        """
        for name in sorted(self._names(uid, tag)):
            path = self.directory / name
            try:
                status = path.stat()
                with Program.pinned(path) as program:
                    info, content = program.info(), _content(program)
            except OSError as error:
                _raise_if_short(error)
                continue
            yield Entry(
                origin=Origin.PIN,
                key=name,
                content=content,
                path=path,
                tag=info.tag,
                prog_type=info.type,
                name=info.name,
                uid=int(name.partition("-")[0]),  # the daemon may have been killed before the pin was given to him
                gid=status.st_gid,
                mode=status.st_mode & 0o7777,
            )

    def load(self, entry: Entry) -> Program:
        """Open the pinned program, which the caller owns then."""
        return Program.pinned(self.directory / entry.key)

    def _alike(self, program: Program, uid: int, tag: str) -> Path | None:
        """A pin of that user's that does what *program* (borrowed), which has that tag, does."""
        for name in self._names(uid, tag):
            if self._does_the_same(name, program):
                return self.directory / name
        return None

    def _does_the_same(self, key: str, program: Program) -> bool:
        """Whether what is pinned as *key* does what *program* (borrowed) does."""
        try:
            with Program.pinned(self.directory / key) as pinned:
                return pinned.does_the_same_as(program)
        except OSError as error:
            _raise_if_short(error)
            return False

    def _names(self, uid: int | None = None, tag: str | None = None) -> list[str]:
        """Those of all pins; of *uid*, and of *tag*, if they are given."""
        try:
            found = [PIN_NAME.fullmatch(path.name) for path in self.directory.iterdir()]
        except (FileNotFoundError, PermissionError):  # nothing was ever pinned; or not for us to see
            return []
        return [name[0] for name in found if name and uid in (None, int(name["uid"])) and tag in (None, name["tag"])]

    def _make_room(self, uid: int, memory: dict[str, int]) -> None:
        """For a program that takes *memory*. The oldest go first: the kernel numbers programs upwards."""
        if sum(memory.values()) > self.quota_bytes:
            needed = f"it takes {sum(memory.values()) >> 10} KiB with its maps"
            raise OSError(errno.EDQUOT, f"{needed}, and one user keeps at most {self.quota_bytes >> 10} KiB")
        own = self._names(uid)
        own.sort(key=lambda name: int(name.split("-")[1]), reverse=True)
        for number, name in enumerate(own, start=2):
            memory = memory | _memory_of_pin(self.directory / name)
            if number > self.quota or sum(memory.values()) > self.quota_bytes:
                (self.directory / name).unlink(missing_ok=True)


def _memory_of(program: Program) -> dict[str, int]:
    """How many bytes the program (borrowed), its maps and their BTF take. What programs share is named alike.

    Raises OSError EDQUOT where that cannot be said.
    """
    memory = program.memory()
    for map_id in program.info().map_ids:
        with Map.by_id(map_id) as map_:
            info = map_.info()
            if info.type in _BOUNDLESS or not info.max_entries:
                raise OSError(errno.EDQUOT, f"nobody can say how large its map {info.name} becomes")
            memory |= map_.memory()
    return memory


def _memory_of_pin(path: Path) -> dict[str, int]:
    try:
        with Program.pinned(path) as program:
            return _memory_of(program)
    except OSError as error:
        _raise_if_short(error)
        return {}


def _raise_if_short(error: OSError) -> None:
    """What could not be looked at since something is short may be there."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error


def _content(program: Program) -> str:
    return instructions_of(program) or f"id:{program.info().id}"
