"""Waiting for a state. Nothing in the tests sleeps to let something happen: it asks until it has happened."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 30.0
_PAUSE_S = 0.005


class Overdue(AssertionError):
    """What was waited for did not come."""


def until(condition: Callable[[], T], what: str, *, deadline_s: float = DEADLINE_S) -> T:
    """The first true value of *condition*; fails with *what* (what should have happened) after *deadline_s*.

    The deadline is for a broken product, not for a slow machine: it is no measurement.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Overdue(f"not within {deadline_s:.0f} s: {what} (last answer: {value!r})")
        time.sleep(_PAUSE_S)
