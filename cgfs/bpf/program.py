"""BPF programs as objects of the kernel: load, find, describe and pin them.

Must not know what a program is attached to. Source: bpf(2), include/uapi/linux/bpf.h.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cgfs._native import ffi, lib
from cgfs.bpf.fdinfo import fdinfo
from cgfs.bpf.kernel import AttachType, ProgType, check_kind
from cgfs.bpf.map import Map, btf_memory
from cgfs.descriptor import Descriptor
from cgfs.errors import check

_LOG_SIZE = 1 << 18
_USUAL_NUMBER_OF_MAPS = 64


class VerifierError(OSError):
    """The kernel's verifier refused a program; `log` is what it said."""

    def __init__(self, errno_: int, message: str, log: str) -> None:
        super().__init__(errno_, message)
        self.log = log


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says of a program. *loaded_at_ns* is on CLOCK_BOOTTIME, *uid* that of who loaded it.

    *btf_id* is 0 if it has no BTF, and *debug_bytes* say where its functions and lines are.
    """

    id: int
    type: ProgType
    name: str
    tag: str
    loaded_at_ns: int
    uid: int
    map_ids: tuple[int, ...]
    btf_id: int
    debug_bytes: int


class Program(Descriptor):
    """A loaded program, held by a descriptor."""

    __slots__ = ()

    @classmethod
    def by_id(cls, prog_id: int) -> Self:
        """Open the program with that id. Raises OSError ENOENT if there is none."""
        return cls(check(lib.cgfs_open_id(lib.CGFS_PROG, prog_id), f"opening the BPF program with id {prog_id}"))

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """Open the program pinned at *path*. Raises OSError: EINVAL if something else is pinned there."""
        fd = check(lib.cgfs_open_pinned(os.fsencode(path)), f"opening the BPF program pinned at {path}")
        return cls.of(fd, f"what is pinned at {path}")

    @classmethod
    def of(cls, fd: int, what: str) -> Self:
        """Takes ownership of *fd*, which is *what*. Raises OSError EINVAL, and closes it, if it is no program."""
        descriptor = cls(fd)
        try:
            check_kind(fd, lib.CGFS_PROG, f"{what} is no BPF program")
        except OSError:
            descriptor.close()
            raise
        return descriptor

    @classmethod
    def load(
        cls,
        prog_type: ProgType,
        insns: bytes,
        *,
        name: str,
        expected_attach_type: AttachType | None = None,
    ) -> Self:
        """Load a program of those instructions, under the GPL.

        Raises VerifierError if the verifier has something to say against it, OSError otherwise (EINVAL if
        *name* has other characters than letters, digits, `_` and `.`).
        """
        code = ffi.from_buffer(insns)
        name_text = ffi.new("char[]", name.encode())
        log = ffi.new("char[]", _LOG_SIZE)
        load = ffi.new("struct cgfs_prog_load *")
        load.prog_type = prog_type
        load.expected_attach_type = expected_attach_type or 0
        load.insns, load.size = code, len(insns)
        load.name = name_text
        load.log, load.log_size = log, _LOG_SIZE
        result = lib.cgfs_prog_load(load)
        said = ffi.string(log).decode(errors="replace")
        if result < 0 and said:
            raise VerifierError(-result, f"the kernel refuses the BPF program {name}: {last_line(said)}", said)
        return cls(check(result, f"loading the BPF program {name}"))

    def info(self) -> ProgramInfo:
        return _info(self.fd)

    def instructions(self) -> bytes:
        """What the verifier made of the instructions; the same for the same instructions, but for references to maps.

        Raises OSError: EPERM without CAP_BPF. Source: bpf(2), BPF_OBJ_GET_INFO_BY_FD, xlated_prog_insns.
        """
        doing = f"asking for the instructions of the BPF program open as descriptor {self.fd}"
        size = check(lib.cgfs_prog_instructions(self.fd, ffi.NULL, 0), doing)
        buffer = ffi.new("char[]", size)
        if check(lib.cgfs_prog_instructions(self.fd, buffer, size), doing) != size:
            raise OSError(errno.EIO, doing)
        return bytes(ffi.buffer(buffer, size))

    def does_the_same_as(self, other: "Program") -> bool:
        """Whether *other* (borrowed) has its type and its instructions, and neither has maps: with those it is like no
        other.
        """
        result = lib.cgfs_prog_does_the_same(self.fd, other.fd)
        return bool(check(result, "comparing the instructions of two BPF programs"))

    def pin(self, path: Path) -> None:
        """Pin the program at *path*, mode 0600. Raises OSError: EEXIST, EPERM where no bpf file system is."""
        check(lib.cgfs_pin(self.fd, os.fsencode(path)), f"pinning a BPF program at {path}")

    def bind_map(self, map_: Map) -> None:
        """Have *map_* (borrowed) live as long as the program, and be listed in its `map_ids`."""
        check(lib.cgfs_prog_bind_map(self.fd, map_.fd), "binding a map to a BPF program")

    def memory(self) -> dict[str, int]:
        """How many bytes of the kernel's it takes, without its maps: its own, and those of its BTF, which others may
        have, too. Source: bpf(2), BPF_OBJ_GET_INFO_BY_FD, btf_id, func_info and line_info.
        """
        info = self.info()
        own = int(fdinfo(self.fd)["memlock"]) + info.debug_bytes
        return {f"program {info.id}": own} | btf_memory(info.btf_id)


def program_info(prog_fd: int) -> ProgramInfo:
    """Describe the program open as *prog_fd* (borrowed).

    Raises OSError: EBADF if *prog_fd* is closed, EINVAL if it is no BPF program.
    Source: bpf(2), BPF_OBJ_GET_INFO_BY_FD.
    """
    check_kind(prog_fd, lib.CGFS_PROG, f"descriptor {prog_fd} is no BPF program")
    return _info(prog_fd)


def _info(prog_fd: int) -> ProgramInfo:
    info = ffi.new("struct cgfs_prog_info *")
    capacity = _USUAL_NUMBER_OF_MAPS
    while True:
        map_ids = ffi.new("uint32_t[]", capacity)
        result = lib.cgfs_prog_info(prog_fd, info, map_ids, capacity)
        check(result, f"asking for the BPF program open as descriptor {prog_fd}")
        if info.n_maps <= capacity:
            break
        capacity = info.n_maps
    return ProgramInfo(
        id=info.id,
        type=ProgType(info.type),
        name=ffi.string(info.name).decode(errors="replace"),
        tag=bytes(info.tag).hex(),
        loaded_at_ns=info.loaded_at_ns,
        uid=info.created_by_uid,
        map_ids=tuple(map_ids[0 : info.n_maps]),
        btf_id=info.btf_id,
        debug_bytes=info.debug_size,
    )


def last_line(log: str) -> str:
    """The line of a verifier's log that says why: the last before its statistics."""
    statistics = ("processed ", "verification time")
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(statistics)]
    return lines[-1] if lines else "no reason given"
