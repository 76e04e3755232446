"""Acts on the files of a cgroup: open, read, write, and what a descriptor can and cannot do."""

import array
import ctypes
import fcntl
import mmap
import os
import select
from collections.abc import Callable
from pathlib import Path

from tests.mount.differential.acts import Descriptor, Scene, act, attempt, read, read_all, wait_event, write
from tests.support.child import join_cgroup

# What every cgroup has, with whatever controllers; those whose content is the same in twins.
STEADY = (
    "cgroup.controllers",
    "cgroup.events",
    "cgroup.freeze",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "cgroup.type",
)
FILES = (
    *STEADY,
    "cgroup.kill",
    "cgroup.stat",
    "cgroup.pressure",
    "cpu.stat",
    "cpu.pressure",
    "memory.pressure",
)

OPEN_FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY,
    "read and write": os.O_RDWR,
    "write and truncate": os.O_WRONLY | os.O_TRUNC,
    "read and truncate": os.O_RDONLY | os.O_TRUNC,
    "append": os.O_WRONLY | os.O_APPEND,
    "create": os.O_WRONLY | os.O_CREAT,
    "create and truncate": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "create exclusively": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "read as directory": os.O_RDONLY | os.O_DIRECTORY,
    "read, no symbolic link": os.O_RDONLY | os.O_NOFOLLOW,
    "read without access time": os.O_RDONLY | os.O_NOATIME,
    "read without blocking": os.O_RDONLY | os.O_NONBLOCK,
    "write synchronously": os.O_WRONLY | os.O_SYNC,
    "path": os.O_PATH,
}

for _file in FILES:
    for _where in ("a", "roots"):

        @act(f"open {_where}/{_file} in every way", _where, _file)
        def open_file(scene: Scene, where: str, name: str) -> object:
            return {how: attempt(open_and_close, scene.tree / where / name, how) for how in OPEN_FLAGS}


def open_and_close(path: Path, how: str) -> int:
    """The status flags that the descriptor has."""
    with Descriptor(path, OPEN_FLAGS[how]) as fd:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_CLOEXEC


def read_bytes(path: Path) -> object:
    with Descriptor(path, os.O_RDONLY) as fd:
        return read_all(fd, 1)


def read_middle(path: Path) -> object:
    with Descriptor(path, os.O_RDONLY) as fd:
        return [os.pread(fd, 4, offset) for offset in (0, 2, 1, 4, 1000, 100000)]


def read_beside_writer(path: Path) -> object:
    with Descriptor(path, os.O_RDWR) as both, Descriptor(path, os.O_RDONLY) as reader:
        return read_all(both), read_all(reader), read_all(both)


def through_pipe(path: Path, move: Callable[[int, int], int]) -> object:
    """What comes out of a pipe into which *move* (from, to) has moved the file."""
    reader, writer = os.pipe()
    with Descriptor(path, os.O_RDONLY) as fd:
        moved = move(fd, writer)
    os.close(writer)
    content = read_all(reader)
    os.close(reader)
    return moved, content


def by_sendfile(path: Path) -> object:
    return through_pipe(path, lambda source, target: os.sendfile(target, source, None, 4096))


def by_splice(path: Path) -> object:
    return through_pipe(path, lambda source, target: os.splice(source, target, 4096))


def poll_first(path: Path) -> object:
    with Descriptor(path, os.O_RDONLY) as fd:
        read_all(fd)
        return polled(fd)


def poll_again(path: Path) -> object:
    with Descriptor(path, os.O_RDONLY) as fd:
        polled(fd)
        os.pread(fd, 100, 0)
        return polled(fd), polled(fd)


for _label, _how in {
    "read": read,
    "read a byte at a time": read_bytes,
    "read in the middle": read_middle,
    "read by sendfile": by_sendfile,
    "read by splice": by_splice,
    "read while open for writing": read_beside_writer,
    "poll": poll_first,
    "poll again": poll_again,
}.items():

    @act(_label, _how)
    def each_file(scene: Scene, how: Callable[[Path], object]) -> object:
        return {name: attempt(how, scene.a / name) for name in STEADY}


def polled(fd: int) -> list[int]:
    poller = select.poll()
    poller.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
    return [events for _, events in poller.poll(0)]


@act("read everything there is")
def read_everything(scene: Scene) -> object:
    """Contents that differ from one moment to the next are compared by their form: the words without the
    numbers.
    """
    found = {}
    for name in sorted(os.listdir(scene.a)):
        if (scene.a / name).is_file() and not name.endswith("_filter"):
            content = attempt(read, scene.a / name)
            found[name] = content.translate(None, b"0123456789") if isinstance(content, bytes) else content
    return found


@act("read in pieces into several buffers")
def readv(scene: Scene) -> object:
    first, second = bytearray(3), bytearray(100)
    with Descriptor(scene.a / "cgroup.events", os.O_RDONLY) as fd:
        return os.readv(fd, [first, second]), bytes(first), bytes(second)


@act("read nothing")
def read_nothing(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.events", os.O_RDONLY) as fd:
        return os.read(fd, 0), os.read(fd, 2)


@act("read again after a change, from the start")
def reread(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.max.depth", os.O_RDONLY) as fd:
        before = read_all(fd)
        write(scene.a / "cgroup.max.depth", b"3")
        at_end = os.read(fd, 10)
        os.lseek(fd, 0, os.SEEK_SET)
        return before, at_end, read_all(fd), os.pread(fd, 10, 0)


for _label, (_offset, _whence) in {
    "start": (0, os.SEEK_SET),
    "middle": (5, os.SEEK_SET),
    "negative": (-1, os.SEEK_SET),
    "current": (2, os.SEEK_CUR),
    "end": (0, os.SEEK_END),
    "before the end": (-1, os.SEEK_END),
    "data": (0, os.SEEK_DATA),
    "hole": (0, os.SEEK_HOLE),
    "far": (1 << 62, os.SEEK_SET),
    "nonsense": (0, 9),
}.items():

    @act(f"seek to {_label}", _offset, _whence)
    def seek(scene: Scene, offset: int, whence: int) -> object:
        with Descriptor(scene.a / "cgroup.events", os.O_RDONLY) as fd:
            os.read(fd, 3)
            position = attempt(os.lseek, fd, offset, whence)
            return position, attempt(os.read, fd, 4)


@act("read by sendfile what is open for reading and writing")
def sendfile_both(scene: Scene) -> object:
    reader, writer = os.pipe()
    with Descriptor(scene.a / "cgroup.type", os.O_RDWR) as source, os.fdopen(reader, "rb"), os.fdopen(writer, "wb"):
        sent = os.sendfile(writer, source, None, 4096)
        return sent, os.pread(source, 4096, 0)


WRITABLE = ("cgroup.freeze", "cgroup.procs", "cgroup.max.depth", "cgroup.subtree_control")

for _file in WRITABLE:

    @act(f"map {_file} into memory", _file)
    def map_file(scene: Scene, name: str) -> object:
        """By mmap(2) itself: Python's goes by st_size, which is 0."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_ssize_t
        size, offset = ctypes.c_size_t(4096), ctypes.c_long(0)
        with Descriptor(scene.a / name, os.O_RDWR) as fd:
            kinds = (mmap.MAP_PRIVATE, mmap.MAP_SHARED)
            return [(libc.mmap(None, size, mmap.PROT_READ, kind, fd, offset), ctypes.get_errno()) for kind in kinds]

    @act(f"ftruncate {_file}", _file)
    def ftruncate(scene: Scene, name: str) -> object:
        with Descriptor(scene.a / name, os.O_RDWR) as fd:
            return [attempt(os.ftruncate, fd, size) for size in (0, 1, 1 << 40)]

    @act(f"truncate {_file}", _file)
    def truncate(scene: Scene, name: str) -> object:
        return [attempt(os.truncate, scene.a / name, size) for size in (0, 1)]

    @act(f"truncate root's {_file}", _file)
    def truncate_roots(scene: Scene, name: str) -> object:
        os.truncate(scene.roots / name, 0)
        return None

    @act(f"fallocate {_file}", _file)
    def fallocate(scene: Scene, name: str) -> object:
        libc = ctypes.CDLL(None, use_errno=True)
        with Descriptor(scene.a / name, os.O_RDWR) as fd:
            result = libc.fallocate(ctypes.c_int(fd), 0, ctypes.c_long(0), ctypes.c_long(4096))
            return result, ctypes.get_errno()

    @act(f"synchronise {_file}", _file)
    def sync(scene: Scene, name: str) -> object:
        with Descriptor(scene.a / name, os.O_RDONLY) as fd:
            return attempt(os.fsync, fd), attempt(os.fdatasync, fd)

    @act(f"ioctl on {_file}", _file)
    def ioctl(scene: Scene, name: str) -> object:
        get_flags, termios_get, made_up = 0x80086601, 0x5401, 0x40186367
        with Descriptor(scene.a / name, os.O_RDWR) as fd:
            buffer = array.array("b", bytes(64))
            return [attempt(fcntl.ioctl, fd, command, buffer) for command in (get_flags, termios_get, made_up)]

    @act(f"copy_file_range from {_file}", _file)
    def copy_range(scene: Scene, name: str) -> object:
        with (
            Descriptor(scene.a / name, os.O_RDONLY) as source,
            Descriptor(scene.b / name, os.O_RDWR) as target,
        ):
            return attempt(os.copy_file_range, source, target, 10)

    @act(f"lock {_file}", _file)
    def lock(scene: Scene, name: str) -> object:
        with Descriptor(scene.a / name, os.O_RDWR) as one, Descriptor(scene.a / name, os.O_RDWR) as two:
            fcntl.flock(one, fcntl.LOCK_EX)
            second = attempt(fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(one, fcntl.LOCK_UN)
            third = attempt(fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return second, third, attempt(fcntl.lockf, one, fcntl.LOCK_EX | fcntl.LOCK_NB)


@act("write to a descriptor for reading")
def write_read_only(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.max.depth", os.O_RDONLY) as fd:
        return os.write(fd, b"1")


@act("read from a descriptor for writing")
def read_write_only(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.max.depth", os.O_WRONLY) as fd:
        return os.read(fd, 1)


@act("reopen by /proc/self/fd")
def reopen(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.max.depth", os.O_RDONLY) as fd:
        return write_to_descriptor_path(fd, b"6"), read(scene.a / "cgroup.max.depth")


@act("reopen root's file by /proc/self/fd")
def reopen_roots(scene: Scene) -> object:
    with Descriptor(scene.roots / "cgroup.max.depth", os.O_RDONLY) as fd:
        return write_to_descriptor_path(fd, b"6")


def write_to_descriptor_path(fd: int, data: bytes) -> int:
    with Descriptor(f"/proc/self/fd/{fd}", os.O_WRONLY) as again:
        return os.write(again, data)


@act("open files of a removed cgroup")
def removed(scene: Scene) -> object:
    kept = ("cgroup.procs", "cgroup.events", "cgroup.max.depth", "cgroup.subtree_control", "cgroup.stat")
    opened = [os.open(scene.b / name, os.O_RDONLY) for name in kept]
    writable = [os.open(scene.b / name, os.O_WRONLY) for name in ("cgroup.max.depth", "cgroup.procs", "cgroup.freeze")]
    os.rmdir(scene.b)
    read_results = [attempt(os.read, fd, 100) for fd in opened]
    write_results = [attempt(os.write, fd, b"0") for fd in writable]
    links = [os.fstat(fd).st_nlink for fd in opened]
    for fd in opened + writable:
        os.close(fd)
    return read_results, write_results, links, attempt(read, scene.b / "cgroup.procs")


@act("an open file does not follow the name")
def removed_and_made_again(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.max.depth", os.O_RDWR) as fd:
        os.rmdir(scene.b)
        os.mkdir(scene.b)
        results = attempt(os.read, fd, 10), attempt(os.write, fd, b"4")
    return results, read(scene.b / "cgroup.max.depth")


@act("freeze and thaw")
def freeze(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", str(scene.mine).encode())
    write(scene.b / "cgroup.freeze", b"1")
    wait_event(scene.b, "frozen 1")
    frozen = read(scene.b / "cgroup.events")
    write(scene.b / "cgroup.freeze", b"0")
    wait_event(scene.b, "frozen 0")
    return frozen, read(scene.b / "cgroup.freeze")


@act("freeze and leave frozen")
def freeze_empty(scene: Scene) -> object:
    write(scene.a / "cgroup.freeze", b"1\n")
    wait_event(scene.deep, "frozen 1")
    return read(scene.deep / "cgroup.freeze"), read(scene.deep / "cgroup.events")


@act("kill")
def kill(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", str(scene.mine).encode())
    write(scene.b / "cgroup.kill", b"1")
    wait_event(scene.b, "populated 0")
    return read(scene.b / "cgroup.procs")


@act("the process that enters shows in what was open before")
def populated(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.events", os.O_RDONLY) as fd:
        before = read_all(fd)
        join_cgroup(scene.b)
        return before, os.pread(fd, 100, 0), scene.roles(read(scene.b / "cgroup.procs"))


for _file, _values in {
    "cgroup.max.depth": (
        b"5",
        b"5\n",
        b" 5 ",
        b"max",
        b"-1",
        b"x",
        b"\n",
        b"5 6",
        b"0x10",
        b"5\0",
        b"\0",
        b"9" * 20,
        b"5" * 4095,
        b"0" * 4096,
        b" " * 5000,
        b"0" * (1 << 20),
    ),
    "cgroup.max.descendants": (b"0", b"max\n", b"MAX", b"1.5"),
    "cgroup.freeze": (b"1", b"2", b"-1", b"yes"),
    "cgroup.kill": (b"1", b"0", b"2", b"x"),
    "cgroup.type": (b"threaded", b"threaded\n", b"domain", b"x"),
    "cgroup.subtree_control": (
        b"",
        b"+",
        b"+nonsense",
        b"-nonsense",
        b"+cgroup",
        b"-memory",
        b"x",
        b"+x" * 3000,
    ),
    "cgroup.procs": (b"x", b"-1", b"4194304000", b"0 0", b"\n", b" ", b"4194304", b"9" * 4096),
    "cgroup.threads": (b"x", b"-1", b"4194304", b"0"),
    "cgroup.pressure": (b"0", b"1", b"2", b"x"),
    "cpu.pressure": (
        b"some 150000 2000000",
        b"full 150000 2000000",
        b"some 150000 2000000\n",
        b"some 1 1",
        b"some",
        b"some 150000 1000000",
        b"none 150000 2000000",
        b"x",
        b"\n",
        b"some 3000000 2000000",
    ),
    "memory.pressure": (b"some 150000 2000000", b"some 150000 500000"),
    "cgroup.events": (b"1",),
    "cgroup.controllers": (b"1",),
    "cpu.stat": (b"1",),
}.items():

    @act(f"write to {_file}", _file, _values)
    def write_values(scene: Scene, name: str, values: tuple[bytes, ...]) -> object:
        """One open and write after the other, and what the file says after each."""
        found = []
        for value in values:
            written = attempt(write, scene.b / name, value)
            content = None if "pressure" in name else attempt(read, scene.b / name)
            found.append((value[:20], len(value), written, content))
        return found

    @act(f"write to root's {_file}", _file, _values)
    def write_roots(scene: Scene, name: str, values: tuple[bytes, ...]) -> object:
        return attempt(write, scene.roots / name, values[0])


@act("write in two pieces")
def write_pieces(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.max.depth", os.O_WRONLY) as fd:
        return os.write(fd, b"1"), os.write(fd, b"2"), read(scene.b / "cgroup.max.depth")


@act("write from several buffers")
def writev(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.max.depth", os.O_WRONLY) as fd:
        return attempt(os.writev, fd, [b"1", b"2"]), read(scene.b / "cgroup.max.depth")


@act("write at an offset")
def pwrite(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.max.depth", os.O_WRONLY) as fd:
        return (
            attempt(os.pwrite, fd, b"8", 1000),
            attempt(os.pwrite, fd, b"9", 1 << 50),
            os.lseek(fd, 0, os.SEEK_CUR),
        )


@act("write nothing")
def write_nothing(scene: Scene) -> object:
    return write(scene.b / "cgroup.max.depth", b""), read(scene.b / "cgroup.max.depth")


@act("write by sendfile")
def write_sendfile(scene: Scene) -> object:
    write(scene.a / "cgroup.max.depth", b"11")
    name = "cgroup.max.depth"
    with Descriptor(scene.a / name, os.O_RDONLY) as source, Descriptor(scene.b / name, os.O_WRONLY) as target:
        sent = attempt(os.sendfile, target, source, None, 100)
    return sent, read(scene.b / "cgroup.max.depth")


@act("a second trigger on one descriptor")
def two_triggers(scene: Scene) -> object:
    with Descriptor(scene.b / "cpu.pressure", os.O_RDWR) as fd:
        first = attempt(os.write, fd, b"some 150000 2000000")
        second = attempt(os.write, fd, b"some 250000 2000000")
        return first, second, os.pread(fd, 4, 0)
