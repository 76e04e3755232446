"""Calls that wait for locks of the kernel, in threads, so that nobody's waiting holds up anybody else.

Whoever can open a cgroup's directory can make it slow for all who change something in it. So each user has a number of
turns: who fills them waits for himself.
"""

import contextlib
import math
import threading
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

import trio

TURNS_OF_ONE_USER = 100

T = TypeVar("T")

computing = threading.Lock()
"""For whoever computes long in Python, in one of these threads: they take the interpreter from the daemon's own thread,
which can stand one of them at a time, and not a hundred.
"""

_turns: WeakValueDictionary[int, trio.CapacityLimiter] = WeakValueDictionary()
"""By uid; one lives as long as somebody goes by it."""
_unlimited = trio.CapacityLimiter(math.inf)


async def in_thread(uid: int, call: Callable[[], T], *, alone: trio.Lock | None = None) -> T:
    """What *call* returns, in a thread, on a turn of the user *uid*; with *alone*, while nobody else holds that lock.

    It goes on to its end whatever becomes of the task. The turn comes first: nobody waits for a lock whose holder
    waits for a turn.
    """
    turns = _turns.get(uid)
    if turns is None:
        turns = _turns[uid] = trio.CapacityLimiter(TURNS_OF_ONE_USER)
    async with turns, alone or contextlib.nullcontext():
        return await trio.to_thread.run_sync(call, limiter=_unlimited)
