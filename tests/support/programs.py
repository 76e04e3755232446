"""Tiny BPF programs, and bpf(2) itself: what others than cgfs do to a cgroup.

By ctypes and from the uapi header alone, so that what cgfs shows and does is compared with something that
shares no code with it. A descriptor that a function returns is the caller's to close.
Source: include/uapi/linux/bpf.h, bpf(2).
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tests.support.syscalls import SYS_BPF, syscall


class Hook(IntEnum):
    """enum bpf_attach_type: the three that the control files stand for."""

    INGRESS = 0
    EGRESS = 1
    SOCKET_CREATE = 2


CONTROL_FILE = {
    Hook.INGRESS: "net.ingress_filter",
    Hook.EGRESS: "net.egress_filter",
    Hook.SOCKET_CREATE: "net.socket_create_filter",
}
PROG_TYPE = {Hook.INGRESS: 8, Hook.EGRESS: 8, Hook.SOCKET_CREATE: 9}
BPF_PROG_TYPE_SOCKET_FILTER = 1

ALLOW_OVERRIDE = 1
ALLOW_MULTI = 2
REPLACE = 4
PREORDER = 1 << 6
QUERY_EFFECTIVE = 1

_LOG_ERRORS_ONLY = 4  # BPF_LOG_STATS: not each instruction, which for a long program is more than a log holds
_MAP_CREATE, _PROG_LOAD, _OBJ_PIN = 0, 5, 6
_PROG_ATTACH, _PROG_DETACH, _PROG_TEST_RUN, _OBJ_GET_INFO_BY_FD, _PROG_QUERY, _LINK_CREATE = 8, 9, 10, 15, 16, 28


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """bpf(2): the result, and the attributes as the kernel left them."""
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    return syscall(SYS_BPF, command, ctypes.addressof(buffer), 144), buffer.raw


def verdict(prog_fd: int) -> int:
    """What the program returns for the shortest packet, an Ethernet header."""
    frame = ctypes.create_string_buffer(14)
    attributes = struct.pack("=IIIIQQI", prog_fd, 0, len(frame), 0, ctypes.addressof(frame), 0, 1)
    returned: int = struct.unpack_from("=I", bpf(_PROG_TEST_RUN, attributes)[1], 4)[0]
    return returned


def return_value(value: int, salt: int = 0) -> bytes:
    """The instructions of a program that returns *value*; another *salt* makes another tag."""
    return _mov(2, salt) + _mov(0, value) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def _mov(register: int, value: int) -> bytes:
    return struct.pack("<BBhi", 0xB7, register, 0, value)


ALLOW = 1
DENY = 0


def load(hook: Hook, value: int = DENY, *, salt: int = 0, name: str = "cgfs_test", prog_type: int | None = None) -> int:
    """A program for *hook* that returns *value* (ALLOW or DENY). Returns its descriptor."""
    return load_instructions(PROG_TYPE[hook] if prog_type is None else prog_type, return_value(value, salt), hook, name)


def load_instructions(prog_type: int, instructions: bytes, hook: Hook, name: str = "cgfs_test") -> int:
    """Any program. Raises OSError with the verifier's words as the message."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(65536)
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        prog_type,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        _LOG_ERRORS_ONLY,
        len(log),
        ctypes.addressof(log),
        0,
        0,
        name.encode()[:15],
        0,
        hook if prog_type == PROG_TYPE[hook] else 0,
    )
    try:
        return bpf(_PROG_LOAD, attributes)[0]
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {log.value.decode(errors='replace')}") from None


@contextlib.contextmanager
def program(hook: Hook, value: int = DENY, *, salt: int = 0, prog_type: int | None = None) -> Iterator[int]:
    """load(), closed at the end."""
    fd = load(hook, value, salt=salt, prog_type=prog_type)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def a_map() -> Iterator[int]:
    """A BPF map, for those who take it for a program."""
    fd = bpf(_MAP_CREATE, struct.pack("<IIII", 2, 4, 4, 1))[0]
    try:
        yield fd
    finally:
        os.close(fd)


def fdinfo_tag(prog_fd: int) -> str:
    """prog_tag of the program's fdinfo: what a control file shows."""
    return _fdinfo(prog_fd, "prog_tag")


def fdinfo_id(prog_fd: int) -> int:
    return int(_fdinfo(prog_fd, "prog_id"))


def _fdinfo(fd: int, field: str) -> str:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise AssertionError(f"descriptor {fd} has no {field}: no BPF program")


def pin(fd: int, path: Path) -> None:
    """Pin the program or map open as *fd* (borrowed) at *path* in a bpf file system."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(_OBJ_PIN, struct.pack("<QI", ctypes.addressof(name), fd))


@contextlib.contextmanager
def _directory(cgroup: Path | int) -> Iterator[int]:
    if isinstance(cgroup, int):
        yield cgroup
        return
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def attach(cgroup: Path | int, prog_fd: int, hook: Hook, flags: int = ALLOW_MULTI, replace_fd: int = 0) -> None:
    """BPF_PROG_ATTACH to a cgroup (a path on cgroup2, or a descriptor)."""
    with _directory(cgroup) as fd:
        bpf(_PROG_ATTACH, struct.pack("<IIIII", fd, prog_fd, hook, flags, replace_fd))


def detach(cgroup: Path | int, hook: Hook, prog_fd: int = 0) -> None:
    """BPF_PROG_DETACH; a *prog_fd* of 0 names no program."""
    with _directory(cgroup) as fd:
        bpf(_PROG_DETACH, struct.pack("<III", fd, prog_fd, hook))


@contextlib.contextmanager
def link(cgroup: Path, prog_fd: int, hook: Hook) -> Iterator[int]:
    """A bpf_link, which goes with its descriptor."""
    with _directory(cgroup) as fd:
        link_fd = bpf(_LINK_CREATE, struct.pack("<IIII", prog_fd, fd, hook, 0))[0]
    try:
        yield link_fd
    finally:
        os.close(link_fd)


@dataclass(frozen=True, slots=True)
class Attachments:
    flags: int
    program_ids: tuple[int, ...]


def query(cgroup: Path | int, hook: Hook, *, effective: bool = False) -> Attachments:
    """BPF_PROG_QUERY."""
    ids = (ctypes.c_uint32 * 128)()
    with _directory(cgroup) as fd:
        flags = QUERY_EFFECTIVE if effective else 0
        _, answer = bpf(_PROG_QUERY, struct.pack("<IIIIQI", fd, hook, flags, 0, ctypes.addressof(ids), len(ids)))
    attach_flags, count = struct.unpack_from("<I", answer, 12)[0], struct.unpack_from("<I", answer, 24)[0]
    return Attachments(attach_flags, tuple(ids[:count]))


def detach_everything(cgroup: Path) -> None:
    """Detach every program attached directly to *cgroup*, on every hook; links stay."""
    for hook in Hook:
        for program_id in query(cgroup, hook).program_ids:
            fd = program_by_id(program_id)
            try:
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    detach(cgroup, hook, fd)
            finally:
                os.close(fd)


def program_by_id(program_id: int) -> int:
    """A descriptor of the loaded program with that id."""
    return bpf(13, struct.pack("<III", program_id, 0, 0))[0]
