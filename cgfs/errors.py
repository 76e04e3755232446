"""Errors: those of C as OSError, and all as people read them. Other people's names in them do nothing to a terminal."""

import errno
import os

GONE = (errno.ENOENT, errno.ENODEV, errno.ESTALE)
"""The errnos that reading about a cgroup gives when it was removed."""


def check(result: int, doing: str) -> int:
    """*result* of a function of the compiled module; OSError if it is an error, which came up *doing* something."""
    if result < 0:
        raise OSError(-result, f"{doing}: {os.strerror(-result)}")
    return result


def describe(error: OSError) -> str:
    """One line: what it was about, and what was wrong. Our own errors say what would be right."""
    text = error.strerror or str(error)
    line = text if error.filename is None else f"{os.fsdecode(error.filename)}: {text}"
    return printable(line.replace("\n", "; "))


def shortened(line: str, length: int = 100) -> str:
    """*line* as it is, or its beginning: a text filter may be 64 KiB long."""
    return line if len(line) <= length else line[: length - 1] + "…"


def printable(name: str) -> str:
    """*name* with every character escaped that would be more than a sign on a terminal."""
    if name.isprintable():
        return name
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in name
    )
