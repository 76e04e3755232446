"""What is to be done one after the other is done so, and nothing else waits for it."""

import threading
from pathlib import Path

from cgfs.locks import LockAmongProcesses, LockByKey
from tests.support.waiting import until


def test_for_the_same_key_one_after_the_other() -> None:
    locks = LockByKey()
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with locks.holding("key"):
            inside.set()
            assert go_on.wait(60)
            order.append("first")

    def second() -> None:
        assert inside.wait(60)
        go_on.set()
        with locks.holding("key"):
            order.append("second")

    threads = [threading.Thread(target=act) for act in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]


def test_a_lock_goes_with_the_last_who_holds_it() -> None:
    locks = LockByKey()
    with locks.holding("key"):
        assert len(locks) == 1
    assert len(locks) == 0


def test_another_key_does_not_wait() -> None:
    locks = LockByKey()
    with locks.holding("key"), locks.holding("other"):
        pass


def test_it_is_free_again_after_an_error() -> None:
    locks = LockByKey()
    for _ in range(2):
        try:
            with locks.holding("key"):
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass


def test_among_processes_a_number_is_held_by_one(tmp_path: Path) -> None:
    """Two open files are as two processes."""
    one, other = (LockAmongProcesses(str(tmp_path / "lock")) for _ in range(2))
    order: list[str] = []

    def second() -> None:
        with other.holding(2**40):
            order.append("second")

    thread = threading.Thread(target=second)
    with one.holding(2**40):
        with other.holding(2**40 + 1):
            order.append("another number")
        thread.start()
        until(lambda: Path("/proc/locks").read_text().count("-> OFDLCK") >= 1, "it waits")
        order.append("first")
    thread.join()
    assert order == ["another number", "first", "second"]
