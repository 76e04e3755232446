"""The control files: their table, and the grammar of what is written to them and read from them. Pure.

Owns what a line means, both ways. Must not know what is attached to a cgroup, nor touch one: cgfs/filters.py
does. What stands behind the colon of a text filter is for cgfs/text_filter.py to judge.

A new row is all that a new control file needs: programs can be attached through it, shown and kept then. Text filters
and the mode nonrecursive are for those hooks only that cgfs/text_filter.py and cgfs/guard.py name.
"""

import errno
import re
from dataclasses import dataclass
from enum import Enum

from cgfs.bpf import AttachType, ProgType

LARGEST_COMMAND = (64 << 10) + 64
"""Bytes of the longest command: a text filter of 64 KiB, its mode and a newline."""

NONE = b"none\n"


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A row of the table. *hook* is what people call it on the command line, and never contains a dot."""

    name: str
    attach_type: AttachType
    prog_type: ProgType
    hook: str


CONTROL_FILES = (
    ControlFile("net.ingress_filter", AttachType.CGROUP_INET_INGRESS, ProgType.CGROUP_SKB, "ingress"),
    ControlFile("net.egress_filter", AttachType.CGROUP_INET_EGRESS, ProgType.CGROUP_SKB, "egress"),
    ControlFile("net.socket_create_filter", AttachType.CGROUP_INET_SOCK_CREATE, ProgType.CGROUP_SOCK, "socket-create"),
)


def by_name(name: str) -> ControlFile:
    """The control file named *name*. Raises OSError: ENOENT."""
    for file in CONTROL_FILES:
        if name == file.name:
            return file
    known = ", ".join(file.name for file in CONTROL_FILES)
    raise OSError(errno.ENOENT, f"{name} is no control file; there are {known}")


def by_hook(word: str) -> ControlFile:
    """The control file whose hook *word* is, as people or bpftool(8) say it, or whose name. Raises OSError: ENOENT."""
    for file in CONTROL_FILES:
        attach_type = file.attach_type.name.lower()
        if word in (file.hook, file.name, attach_type, attach_type.removeprefix("cgroup_inet_")):
            return file
    known = ", ".join(f"{file.hook} ({file.name})" for file in CONTROL_FILES)
    raise OSError(errno.ENOENT, f"{word} is no hook; there are {known}")


class Mode(Enum):
    """How a filter goes down the tree. The value is the word in parentheses."""

    DEFAULT = ""
    OVERRIDABLE = "overridable"
    NONRECURSIVE = "nonrecursive"

    @classmethod
    def of(cls, *, overridable: bool, nonrecursive: bool) -> "Mode":
        """Raises OSError: EINVAL if it is to be both."""
        if overridable and nonrecursive:
            raise OSError(errno.EINVAL, "a filter is overridable or nonrecursive, and not both")
        return cls.OVERRIDABLE if overridable else cls.NONRECURSIVE if nonrecursive else cls.DEFAULT


@dataclass(frozen=True, slots=True)
class NoneCommand:
    """Nothing is to be attached here afterwards."""


@dataclass(frozen=True, slots=True)
class SetProgram:
    """The program with this tag, from the program store."""

    tag: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class SetText:
    """A text filter: *text* without the mode, `families:inet` for `families(nonrecursive):inet`."""

    text: str
    mode: Mode


Command = NoneCommand | SetProgram | SetText

_LINE = re.compile(r"(?P<word>(?!none\b)[a-z][a-z0-9_]*)(?:\((?P<mode>[a-z]+)\))?:(?P<rest>[\x20-\x7e]*)")
_TAG = re.compile(r"[0-9a-f]{16}")
_MODES = {mode.value: mode for mode in Mode if mode is not Mode.DEFAULT}


def parse(data: bytes) -> Command:
    """What one write means: one line, with or without its newline.

    Raises OSError: EINVAL if it means nothing, E2BIG if it is too long for a command.
    """
    if len(data) > LARGEST_COMMAND:
        raise OSError(errno.E2BIG, f"{len(data)} bytes are too much: {LARGEST_COMMAND} is the most of a command")
    line = data.removesuffix(b"\n")
    if line == b"none":
        return NoneCommand()
    match = _LINE.fullmatch(line.decode("ascii", "replace"))
    if match is None:
        raise OSError(errno.EINVAL, "write one line: none, bpf:<tag>, or a text filter such as families:inet")
    mode = Mode.DEFAULT if match["mode"] is None else _MODES.get(match["mode"])
    if mode is None:
        raise OSError(errno.EINVAL, f"({match['mode'][:40]}) is no mode: there are {' and '.join(_MODES)}")
    if match["word"] != "bpf":
        return SetText(f"{match['word']}:{match['rest']}", mode)
    if not _TAG.fullmatch(match["rest"]):
        raise OSError(errno.EINVAL, "bpf: takes a tag: the 16 hex digits of prog_tag in the program's fdinfo")
    return SetProgram(match["rest"], mode)


def program_line(tag: str, mode: Mode) -> str:
    """How a control file shows a program; without the newline."""
    return text_line(f"bpf:{tag}", mode)


def text_line(text: str, mode: Mode) -> str:
    """How a control file shows the text filter *text* in *mode*; without the newline."""
    if mode is Mode.DEFAULT:
        return text
    word, _, rest = text.partition(":")
    return f"{word}({mode.value}):{rest}"


def content(lines: list[str]) -> bytes:
    """What a control file says when these lines are in it."""
    return "".join(f"{line}\n" for line in lines).encode("ascii") or NONE
