"""What is to be done one after the other is done so, and nothing else waits for it."""

import contextlib
import threading
import time
from pathlib import Path

from cgfs.locks import LockAmongProcesses, LockByKey
from tests.support.waiting import until


def test_for_the_same_key_one_after_the_other() -> None:
    locks = LockByKey()
    together = threading.Barrier(8)
    inside, most = [0], [0]

    def act() -> None:
        together.wait(60)
        for _ in range(100):
            with locks.holding("key"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)  # another thread's turn
                inside[0] -= 1

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


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
    """Also for who waits meanwhile: then it is the same lock."""
    locks = LockByKey()
    waits, done = threading.Event(), threading.Event()

    def second() -> None:
        waits.set()
        with locks.holding("key"):
            done.set()

    thread = threading.Thread(target=second, daemon=True)
    with contextlib.suppress(ZeroDivisionError), locks.holding("key"):
        thread.start()
        assert waits.wait(60)
        time.sleep(0.01)  # most likely it waits for the lock by now
        raise ZeroDivisionError
    assert done.wait(60)


def waiters(path: Path) -> int:
    """How many wait for a lock of the file. Source: proc_locks(5)."""
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("-> OFDLCK" in line and f":{path.stat().st_ino} " in line for line in lines)


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
        until(lambda: waiters(tmp_path / "lock") == 1, "it waits")
        order.append("first")
    thread.join()
    assert order == ["another number", "first", "second"]


def test_among_processes_it_is_seen_that_a_number_is_held(tmp_path: Path) -> None:
    one, other = (LockAmongProcesses(str(tmp_path / "lock")) for _ in range(2))
    with one.holding(7):
        assert other.is_held(7)
        assert not other.is_held(8)
    assert not other.is_held(7)
    one.keep(7)
    assert other.is_held(7)
    other.keep(7)  # and waits for nobody
