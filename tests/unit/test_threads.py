"""Threads by user: who fills his turns waits for himself; and what is to be done alone is done alone."""

import threading
from functools import partial

import trio

from cgfs.threads import TURNS_OF_ONE_USER, in_thread


async def test_the_result_and_the_error_come_back() -> None:
    def fail() -> None:
        raise PermissionError("no")

    assert await in_thread(1000, lambda: 7) == 7
    try:
        await in_thread(1000, fail)
    except PermissionError as error:
        assert str(error) == "no"
    else:
        raise AssertionError("it did not fail")


async def test_who_has_taken_all_his_turns_holds_up_nobody_else() -> None:
    go_on = threading.Event()
    begun = threading.Semaphore(0)
    done = []

    def wait(number: int) -> None:
        begun.release()
        go_on.wait(60)
        done.append(number)

    def take(count: int) -> bool:
        return all(begun.acquire(timeout=60) for _ in range(count))

    async with trio.open_nursery() as nursery:
        for number in range(TURNS_OF_ONE_USER + 5):
            nursery.start_soon(in_thread, 1000, lambda number=number: wait(number))
        assert await in_thread(1001, lambda: take(TURNS_OF_ONE_USER))
        assert not begun.acquire(blocking=False)
        assert not done
        go_on.set()
    assert sorted(done) == list(range(TURNS_OF_ONE_USER + 5))


async def test_what_is_to_be_done_alone_is_done_alone() -> None:
    lock = trio.Lock()
    inside: list[int] = []
    most = []

    def act() -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    async with trio.open_nursery() as nursery:
        for uid in range(20):
            nursery.start_soon(partial(in_thread, uid, act, alone=lock))
    assert most == [1] * 20
