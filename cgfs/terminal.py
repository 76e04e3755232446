"""What the commands print with, for people and for programs.

No line is wrapped or cut: a terminal does that, and what is copied from it is whole.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_ENDLESS = 100_000


def console() -> Console:
    """stdout."""
    return Console(highlight=False, width=_ENDLESS)


def table(*headings: str) -> Table:
    """A table without lines."""
    return Table(*headings, box=None, pad_edge=False, header_style="bold")


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()
