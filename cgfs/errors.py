"""Errors as people read them."""

import os


def describe(error: OSError) -> str:
    """One line: what it was about, and what was wrong. Our own errors say what would be right."""
    text = error.strerror or str(error)
    line = text if error.filename is None else f"{os.fsdecode(error.filename)}: {text}"
    return line.replace("\n", "; ")
