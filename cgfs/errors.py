"""Errors, and other people's names in them, as people read them: a name does nothing to a terminal."""

import errno
import os

GONE = (errno.ENOENT, errno.ENODEV, errno.ESTALE)
"""The errnos that reading about a cgroup gives when it was removed."""


def describe(error: OSError) -> str:
    """One line: what it was about, and what was wrong. Our own errors say what would be right."""
    text = error.strerror or str(error)
    line = text if error.filename is None else f"{os.fsdecode(error.filename)}: {text}"
    return printable(line.replace("\n", "; "))


def printable(name: str) -> str:
    """*name* with every character escaped that would be more than a sign on a terminal."""
    if name.isprintable():
        return name
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in name
    )
