"""A progress bar for what takes longer than people wait without asking."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID

PATIENCE_S = 1.0

Item = TypeVar("Item")


def progress(items: Sequence[Item], what: str, console: Console | None = None) -> Iterator[Item]:
    """*items* one by one; with a bar on stderr, if that is a terminal, once they have taken PATIENCE_S."""
    console = console or Console(stderr=True)
    began = time.monotonic()
    bar: Progress | None = None
    task = TaskID(0)
    with ExitStack() as stack:
        for done, item in enumerate(items):
            if bar is None and console.is_terminal and time.monotonic() - began > PATIENCE_S:
                bar = stack.enter_context(Progress(console=console, transient=True))
                task = bar.add_task(what, total=len(items))
            if bar is not None:
                bar.update(task, completed=done)
            yield item
