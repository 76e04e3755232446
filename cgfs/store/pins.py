"""Programs that came through the ioctl, kept as pins in bpffs in the attacher's name until the reboot.

A pin is DIRECTORY/UID-ID-TAG: the attacher's uid, the program's id and tag, owned by that uid, mode 0600. It keeps the
program with its live maps. A quota bounds how many one user keeps: the oldest goes first, since a program that is
attached stays attached without its pin.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cgfs.bpf import Program
from cgfs.store.entry import Entry, Origin, instructions_of

QUOTA = 64
PIN_NAME = re.compile(r"(?P<uid>\d+)-(?P<id>\d+)-(?P<tag>[0-9a-f]{16})")


class PinStore:
    """The pins in *directory*, a root-owned directory in a bpffs."""

    def __init__(self, directory: Path, quota: int = QUOTA) -> None:
        self.directory = directory
        self.quota = quota

    def keep(self, program: Program, uid: int, gid: int) -> None:
        """Pin *program* (borrowed) for *uid*; one that is kept already, or does the same, stays as it is."""
        info = program.info()
        name = f"{uid}-{info.id}-{info.tag}"
        if (self.directory / name).exists() or self._keeps_the_same(program, uid, info.tag):
            return
        self._make_room(uid)
        program.pin(self.directory / name)
        os.chmod(self.directory / name, 0o600)
        os.chown(self.directory / name, uid, gid)

    def remove(self, key: str) -> None:
        """Remove the pin named *key*. Raises OSError ENOENT if it is not there."""
        if not PIN_NAME.fullmatch(key):
            raise FileNotFoundError(f"no pin is named {key}; `cgfs program list` shows the names")
        (self.directory / key).unlink()

    def entries(self) -> Iterator[Entry]:
        """All pins. What others put into the directory is no entry."""
        for path in self._pins():
            try:
                status = path.stat()
                with Program.pinned(path) as program:
                    info, content = program.info(), _content(program)
            except OSError:
                continue
            yield Entry(
                origin=Origin.PIN,
                key=path.name,
                content=content,
                path=path,
                tag=info.tag,
                prog_type=info.type,
                name=info.name,
                uid=status.st_uid,
                gid=status.st_gid,
                mode=status.st_mode & 0o7777,
            )

    def load(self, entry: Entry) -> Program:
        """Open the pinned program, which the caller owns then."""
        return Program.pinned(self.directory / entry.key)

    def _keeps_the_same(self, program: Program, uid: int, tag: str) -> bool:
        """Whether a pin of *uid* does what *program* (borrowed) does. What is so has the same tag."""
        alike = [path for path in self._pins() if path.name.startswith(f"{uid}-") and path.name.endswith(f"-{tag}")]
        return any(self._content_of(path) == _content(program) for path in alike)

    @staticmethod
    def _content_of(path: Path) -> str | None:
        try:
            with Program.pinned(path) as program:
                return _content(program)
        except OSError:
            return None

    def _pins(self) -> list[Path]:
        try:
            return sorted(path for path in self.directory.iterdir() if PIN_NAME.fullmatch(path.name))
        except (FileNotFoundError, PermissionError):  # nothing was ever pinned; or not for us to see
            return []

    def _make_room(self, uid: int) -> None:
        """The oldest go first: the kernel numbers programs upwards."""
        own = [path for path in self._pins() if path.name.startswith(f"{uid}-")]
        by_age = sorted(own, key=lambda path: int(path.name.split("-")[1]))
        for path in by_age[: max(0, len(own) - self.quota + 1)]:
            path.unlink(missing_ok=True)


def _content(program: Program) -> str:
    return instructions_of(program) or f"id:{program.info().id}"
