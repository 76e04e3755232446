"""What the commands print with, for people and for programs.

Owns the width of what is not printed on a terminal.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_ENDLESS = 100_000


def console() -> Console:
    """stdout; where that is no terminal, no line is wrapped."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)


def table(*headings: str, fold: tuple[str, ...] = ()) -> Table:
    """A table without lines; of what does not fit on a terminal, the columns *fold* are folded."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold", no_wrap=heading not in fold, min_width=len(heading))
    return made


def shortened(line: str, length: int = 100) -> str:
    """*line* as it is, or its beginning: a text filter may be 64 KiB long."""
    return line if len(line) <= length else line[: length - 1] + "…"


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()
