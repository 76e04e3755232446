"""Errors as people read them."""

import errno
import os

GONE = (errno.ENOENT, errno.ENODEV, errno.ESTALE)
"""What one who reads about a cgroup is told when it is gone."""


def describe(error: OSError) -> str:
    """One line: what it was about, and what was wrong. Our own errors say what would be right."""
    text = error.strerror or str(error)
    line = text if error.filename is None else f"{os.fsdecode(error.filename)}: {text}"
    return "".join(map(_harmless, line.replace("\n", "; ")))


def _harmless(letter: str) -> str:
    """*letter*, escaped where it would be more than a sign on a terminal."""
    return letter if letter.isprintable() else ascii(letter)[1:-1]
