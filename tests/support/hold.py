"""Hold a cgroup directory's lock for as long as a test wants, so that a mkdir in it is as slow as the test wants.

A process lists the directory into a page of memory that userfaultfd(2) keeps missing: the kernel holds the directory's
lock (inode->i_rwsem, shared) for the listing and waits for the page. Every mkdir and rmdir in the directory waits for
that lock, on cgroup2 and so in the daemon too, until the page is given.
Source: userfaultfd(2), ioctl_userfaultfd(2), iterate_dir() in fs/readdir.c.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.child import Child
from tests.support.syscalls import syscall
from tests.support.waiting import until

_SYS_USERFAULTFD = {"x86_64": 323}.get(os.uname().machine, 282)
_SYS_GETDENTS64 = {"x86_64": 217}.get(os.uname().machine, 61)
_UFFD_API, _UFFDIO_API, _UFFDIO_REGISTER, _UFFDIO_ZEROPAGE = 0xAA, 0xC018AA3F, 0xC020AA00, 0xC020AA04
_REGISTER_MODE_MISSING = 1
_PAGE = mmap.PAGESIZE


class _Page:
    """One page that is missing until give() is called."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._fd = syscall(_SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(self._fd, _UFFDIO_API, bytearray(struct.pack("=QQQ", _UFFD_API, 0, 0)))
        region = struct.pack("=QQQQ", self.address, _PAGE, _REGISTER_MODE_MISSING, 0)
        fcntl.ioctl(self._fd, _UFFDIO_REGISTER, bytearray(region))

    def is_wanted(self) -> bool:
        """Whether somebody waits for the page: an event can be read."""
        with contextlib.suppress(BlockingIOError):
            return len(os.read(self._fd, 32)) == 32
        return False

    def give(self) -> None:
        fcntl.ioctl(self._fd, _UFFDIO_ZEROPAGE, bytearray(struct.pack("=QQQq", self.address, _PAGE, 0, 0)))
        os.close(self._fd)


_pages: list[_Page] = []
_threads: list[threading.Thread] = []


def _list_into(address: int, directory: str) -> None:
    """getdents64(2) of *directory* into the page; that cgroup2's directories fit into one is all that it needs."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syscall(_SYS_GETDENTS64, fd, address, _PAGE)
    finally:
        os.close(fd)


def _hold(directories: Sequence[str]) -> None:
    """In the child: a listing of each directory that waits for its page."""
    for directory in directories:
        page = _Page()
        thread = threading.Thread(target=_list_into, args=(page.address, directory))
        thread.start()
        until(page.is_wanted, f"the listing of {directory} waits for its page")
        _pages.append(page)
        _threads.append(thread)


def _release() -> None:
    for page, thread in zip(_pages, _threads, strict=True):
        page.give()
        thread.join()


@contextlib.contextmanager
def held(*directories: Path) -> Iterator[None]:
    """Until the end of the block nothing can be made or removed in *directories* (paths on cgroup2)."""
    with Child() as child:
        child.call(_hold, [str(directory) for directory in directories])
        yield
        child.call(_release)
