"""Locks between those who are asked about control files, threads and daemons: what is done one after the other."""

import contextlib
import fcntl
import os
import struct
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


class LockAmongProcesses:
    """A lock for each number, among all processes that have the file *path* for it. Threads need another one besides.

    Each is a byte of the file, which stays empty. Source: fcntl(2), "Open file description locks".
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    @contextlib.contextmanager
    def holding(self, number: int) -> Iterator[None]:
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_WRLCK, number))
        try:
            yield
        finally:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, number))


def _flock(kind: int, number: int) -> bytes:
    """struct flock: of one byte."""
    return struct.pack("@hhqqi4x", kind, os.SEEK_SET, number, 1, 0)


_computing = threading.Lock()
_computing_of = LockByKey()  # by user


@contextlib.contextmanager
def computing(user: int) -> Iterator[None]:
    """Held around what Python computes for long for *user*: one such computation runs at a time, since it takes the
    interpreter from all who read control files; and of each user one waits for it, so that nobody waits behind a
    hundred of one user's.
    """
    with _computing_of.holding(user), _computing:
        yield
