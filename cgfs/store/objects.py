"""Programs kept as ELF objects, by content, in a root-owned directory; they survive a reboot.

An object lies at DIRECTORY/SHA256.o, and what it holds at DIRECTORY/SHA256.json, which is written last: an object
without it is a leftover of a power cut, and no entry. The permission bits and owner of the object file say who may use
its programs. The hash is checked at every load. Tags are the kernel's, and another release may have others: what an
object holds is found out anew then.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cgfs import durable
from cgfs.bpf import Program, ProgType, load_object_bytes, programs_of_object
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.store.entry import Entry, Origin, instructions_of

log = logging.getLogger(__name__)

DIRECTORY = Path("/var/lib/cgfs/programs")
LARGEST_OBJECT = 16 << 20
_TYPES = {file.prog_type for file in CONTROL_FILES}
_HOOKS = {(file.prog_type, file.attach_type) for file in CONTROL_FILES}


@dataclass(frozen=True, slots=True)
class StoredProgram:
    """One program of an object: its ELF section, name and type, the tag that the kernel gave it, and what
    `entry.instructions_of` says of it.
    """

    section: str
    name: str
    prog_type: ProgType
    tag: str
    instructions: str | None


class ObjectStore:
    """The objects in *directory*, which is made (root's, 0755) when the first is added."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.directory = directory

    def add(self, content: bytes, *, uid: int = 0, gid: int = 0, mode: int = 0o600) -> str:
        """Keep the object *content*, and return its SHA-256. An object that is there already gets these permissions.

        Raises OSError: EINVAL if it is no object with programs for cgroups' filters, EFBIG if it is larger than
        LARGEST_OBJECT, or the kernel's word if a program does not load.
        """
        if len(content) > LARGEST_OBJECT:
            raise OSError(errno.EFBIG, f"the object has more than {LARGEST_OBJECT} bytes, the most that there may be")
        digest = hashlib.sha256(content).hexdigest()
        programs = programs_in(content)
        if not programs:
            kinds = " or ".join(sorted(kind.name.lower() for kind in _TYPES))
            raise OSError(errno.EINVAL, f"the object has no program of type {kinds}: its section's name says the type")
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        durable.write_file(self._object(digest), content, mode=0o600)
        durable.write_file(self._index(digest), _format(programs), mode=0o644)
        os.chown(self._object(digest), uid, gid)
        os.chmod(self._object(digest), mode)
        return digest

    def remove(self, digest: str) -> None:
        """Forget the object with this SHA-256. Raises OSError ENOENT if it is not there."""
        durable.remove_file(self._index(digest))
        with contextlib.suppress(FileNotFoundError):
            durable.remove_file(self._object(digest))

    def content(self, digest: str) -> bytes:
        """The object's bytes. Raises OSError: ENOENT, EAGAIN if its owner has a lease on it, or EBADMSG if they are no
        longer what was added.
        """
        content = _read(self._object(digest))
        if hashlib.sha256(content).hexdigest() != digest:
            raise OSError(
                errno.EBADMSG,
                f"{self._object(digest)} is damaged: its SHA-256 is not its name; remove and add it again",
            )
        return content

    def digests(self) -> list[str]:
        """The SHA-256 of each object, in order."""
        return sorted(path.stem for path in self.directory.glob("*.json"))

    def entries(self) -> Iterator[Entry]:
        """All programs of all objects. What is damaged is no entry."""
        for digest in self.digests():
            try:
                programs = self._programs(digest)
                status = self._object(digest).stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("the programs of %s cannot be had: %s", self._object(digest), error)
                continue
            except (KeyError, TypeError, ValueError, RecursionError):
                log.warning("%s is damaged: remove the file and add the object again", self._index(digest))
                continue
            for program in programs:
                key = f"{digest}:{program.name}"
                yield Entry(
                    origin=Origin.OBJECT,
                    key=key,
                    content=program.instructions or key,
                    path=self._object(digest),
                    tag=program.tag,
                    prog_type=program.prog_type,
                    name=program.name,
                    uid=status.st_uid,
                    gid=status.st_gid,
                    mode=status.st_mode & 0o7777,
                )

    def load(self, entry: Entry, file: ControlFile) -> Program:
        """Load the program of *entry* for *file*; the caller owns it then.

        Raises OSError as `content` and bpf do, and EBADMSG if it has another tag than *entry* says.
        """
        digest, _, name = entry.key.partition(":")
        content = self.content(digest)
        program = load_object_bytes(content, name, prog_type=file.prog_type, attach_type=file.attach_type)
        if program.info().tag != entry.tag:
            program.close()
            words = (
                f"{self._index(digest)} is damaged: {name} has another tag; remove the file and add the object again"
            )
            raise OSError(errno.EBADMSG, words)
        return program

    def _programs(self, digest: str) -> list[StoredProgram]:
        """Raises OSError, or KeyError, TypeError, ValueError or RecursionError if the index is none."""
        programs, release = _parse(self._index(digest).read_bytes())
        if release == os.uname().release or os.geteuid() != 0:
            return programs
        programs = programs_in(self.content(digest))
        with contextlib.suppress(OSError):  # it is found out again then
            durable.write_file(self._index(digest), _format(programs), mode=0o644)
        return programs

    def _object(self, digest: str) -> Path:
        return self.directory / f"{digest}.o"

    def _index(self, digest: str) -> Path:
        return self.directory / f"{digest}.json"


def _read(path: Path) -> bytes:
    """No more than there can be, and without waiting: the file may be somebody's who means no good."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read(LARGEST_OBJECT + 1)


def programs_in(content: bytes) -> list[StoredProgram]:
    """The programs for control files in the object *content*, with the tags that the kernel gives them.

    Raises OSError: EINVAL if it is no object, or what loading them gives.
    """
    found = []
    for program in programs_of_object(content):
        if (program.prog_type, program.expected_attach_type) in _HOOKS:
            with load_object_bytes(content, program.name) as loaded:
                tag, instructions = loaded.info().tag, instructions_of(loaded)
            found.append(StoredProgram(program.section, program.name, program.prog_type, tag, instructions))
    return found


def _format(programs: list[StoredProgram]) -> bytes:
    rows = [asdict(each) | {"prog_type": each.prog_type.name} for each in programs]
    return json.dumps({"version": 1, "kernel": os.uname().release, "programs": rows}, indent=2).encode() + b"\n"


def _parse(index: bytes) -> tuple[list[StoredProgram], str]:
    """With the release of the kernel that it is true of. Raises KeyError, TypeError, ValueError or RecursionError if it
    is no index.
    """
    value = json.loads(index)
    programs = [StoredProgram(**(row | {"prog_type": ProgType[row["prog_type"]]})) for row in value["programs"]]
    if not all(isinstance(text, str) for each in programs for text in (each.section, each.name, each.tag)):
        raise ValueError("names and tags are strings")
    if not all(each.instructions is None or isinstance(each.instructions, str) for each in programs):
        raise ValueError("a hash is a string")
    return programs, value.get("kernel", "")
