"""Locks between the threads in which the mirror asks about control files: what is done one after the other."""

import contextlib
import threading
from collections.abc import Hashable, Iterator
from weakref import WeakValueDictionary


class LockByKey:
    """A lock for each key; there are no more of them than are in use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._locks)

    @contextlib.contextmanager
    def holding(self, key: Hashable) -> Iterator[None]:
        """While the `with` block runs, no other for the same *key* does."""
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.Lock()
        with lock:
            yield


_computing = threading.Lock()
_computing_of = LockByKey()  # by user


@contextlib.contextmanager
def computing(user: int) -> Iterator[None]:
    """To be held while Python computes for long, for *user*. That takes the interpreter from all who read control
    files: so there is one such computation at a time. Of each user only one waits for it, so that nobody waits behind
    a hundred of one user's.
    """
    with _computing_of.holding(user), _computing:
        yield
