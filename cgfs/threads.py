"""Calls that wait for locks of the kernel, in threads, so that nobody's waiting holds up anybody else.

Whoever can open a cgroup's directory can make it slow for all who change something in it. So each user has a number of
turns: who fills them waits for himself.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast
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


async def in_thread(uid: int, call: Callable[[], T], *, alone: trio.Lock | None = None) -> T:
    """What *call* returns, in a thread, on a turn of the user *uid*; with *alone*, while nobody else holds that lock.

    It goes on to its end whatever becomes of the task. The turn comes first: nobody waits for a lock whose holder
    waits for a turn.
    """
    turns = _turns.get(uid)
    if turns is None:
        turns = _turns[uid] = trio.CapacityLimiter(TURNS_OF_ONE_USER)
    await _take(turns)
    try:
        if alone is None:
            return await _run(call)
        await _take(alone)
        try:
            return await _run(call)
        finally:
            alone.release()
    finally:
        turns.release()


async def _take(lock: trio.CapacityLimiter | trio.Lock) -> None:
    """Without a round of trio's loop where it is free, unlike `async with`."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


async def _run(call: Callable[[], T]) -> T:
    """As trio.to_thread.run_sync(), without what that does for callers that this package has not: a limiter, a context
    and a name for the thread. That is half of the time that going there and back takes.
    """
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def deliver(result: Any) -> None:  # an outcome.Outcome
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

    trio.lowlevel.start_thread_soon(call, deliver)
    return cast(T, await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED))
