"""The register of acts, and what their functions are given and may use.

An act is a function of a Scene. What it returns is compared; an OSError that it lets through is compared by
its errno. Acts must not depend on time, on numbers that the kernel makes up, or on what runs beside them.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an act takes place, as the actor sees it: paths of its side, pids of its namespace."""

    tree: Path
    home: Path
    outside: Path
    mine: int
    foreign: int

    @property
    def a(self) -> Path:
        return self.tree / "a"

    @property
    def b(self) -> Path:
        return self.tree / "b"

    @property
    def deep(self) -> Path:
        return self.tree / "a" / "deep"

    @property
    def roots(self) -> Path:
        return self.tree / "roots"

    def role(self, pid: int) -> str:
        """Who *pid*, read from a file, is: numbers differ between the sides, roles do not."""
        known = {os.getpid(): "actor", self.mine: "mine", self.foreign: "foreign", 0: "0"}
        return known.get(pid, f"unknown {pid}")

    def roles(self, text: str | bytes) -> list[str]:
        """The roles of the pids in the text of a cgroup.procs, in no order."""
        return sorted(self.role(int(line)) for line in text.split())


Act = Callable[[Scene], object]
ACTS: dict[str, Act] = {}


AnyFunction = Callable[..., object]


def act(name: str, *arguments: Any) -> Callable[[AnyFunction], AnyFunction]:
    """Register a function as the act *name*; *arguments* are passed to it after the scene."""

    def register(function: AnyFunction) -> AnyFunction:
        assert name not in ACTS, f"two acts are called {name!r}"
        ACTS[name] = lambda scene: function(scene, *arguments)
        return function

    return register


def errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def attempt(function: Callable[..., object], *arguments: Any, **keywords: Any) -> object:
    """What *function* returns, or the name of the errno that it fails with: for acts of several steps."""
    try:
        return function(*arguments, **keywords)
    except OSError as error:
        return errno_name(error)


def perform(name: str, scene: Scene) -> tuple[str, object]:
    """Do the act *name*: ("value", what it returned) or ("errno", "ENOENT")."""
    directory = os.open(".", os.O_PATH)
    try:
        return "value", ACTS[name](scene)
    except OSError as error:
        return "errno", errno_name(error)
    finally:
        os.fchdir(directory)
        os.close(directory)
        os.umask(0o022)


class Descriptor:
    """open(2) for a `with` block."""

    def __init__(self, path: Path | str | bytes, flags: int, mode: int = 0o644, dir_fd: int | None = None) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def write(path: Path, data: bytes, flags: int = os.O_WRONLY) -> int:
    """One open(2) and one write(2)."""
    with Descriptor(path, flags) as fd:
        return os.write(fd, data)


def read(path: Path, flags: int = os.O_RDONLY) -> bytes:
    """One open(2) and reads to the end."""
    with Descriptor(path, flags) as fd:
        return read_all(fd)


def read_all(fd: int, size: int = 65536) -> bytes:
    return b"".join(iter(lambda: os.read(fd, size), b""))


def wait_event(cgroup: Path, line: str) -> None:
    """Wait until cgroup.events has *line*."""
    until(lambda: line in (cgroup / "cgroup.events").read_text(), f"{cgroup} has {line!r} in cgroup.events")
