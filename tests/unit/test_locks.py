"""What is to be done one after the other is done so, and nothing else waits for it."""

import threading
import time

from cgfs.locks import LockByKey


def test_for_the_same_key_one_after_the_other() -> None:
    locks = LockByKey()
    inside: list[int] = []
    most: list[int] = []

    def act() -> None:
        with locks.holding("key"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    threads = [threading.Thread(target=act) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20


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
