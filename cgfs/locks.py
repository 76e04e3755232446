"""Locks between those who are asked about control files, threads and daemons: what is done one after the other."""

import contextlib
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Hashable, Iterator
from pathlib import Path
from weakref import WeakValueDictionary

LOCKS = "/run/cgfs.lock"
"""The file of those among all daemons. The numbers of control files are below both of these."""
_MIRRORS, _PLACES = 1 << 61, 1 << 62


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


def number_of_mirror(device: int) -> int:
    """In LOCKS: that of the mirror on which st_dev is *device*. Its daemon holds it for as long as it lives, or what is
    left of a former one, whose device number it has got.
    """
    return _MIRRORS + device


def number_of_place(mountpoint: Path) -> int:
    """In LOCKS: that of a place where a mirror is to be mounted."""
    return _PLACES + zlib.crc32(os.fsencode(mountpoint))


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

    def keep(self, number: int) -> None:
        """Hold it until the process ends, unless somebody has it."""
        with contextlib.suppress(BlockingIOError):
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, number))

    def is_held(self, number: int) -> bool:
        """By another process, or by another object of this one."""
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, number))
        return struct.unpack_from("@h", answer) != (fcntl.F_UNLCK,)


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
