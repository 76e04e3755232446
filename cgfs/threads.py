"""Calls that wait for locks of the kernel, in threads, so that nobody's waiting holds up anybody else.

Whoever can open a cgroup's directory can make it slow for all who change something in it. So each user has threads of
their own, up to a number: who fills them waits for himself.
"""

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

import trio

MOST_OF_ONE_USER = 100

T = TypeVar("T")

_limiters: WeakValueDictionary[int, trio.CapacityLimiter] = WeakValueDictionary()
"""By uid; one lives as long as somebody goes by it."""


async def in_thread(uid: int, call: Callable[[], T]) -> T:
    """What *call* returns, in a thread, for the user *uid*. It goes on to its end whatever becomes of the task."""
    limiter = _limiters.get(uid)
    if limiter is None:
        limiter = _limiters[uid] = trio.CapacityLimiter(MOST_OF_ONE_USER)
    return await trio.to_thread.run_sync(call, limiter=limiter)
