"""What makes no sense is refused with its errno, and changes nothing; and the daemon is as good as before."""

import errno
import fcntl
import os
import signal
import socket
import termios
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cgfs.control import LARGEST_COMMAND
from tests.mount.conftest import Twin
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.child import Child
from tests.support.control import IOC_ATTACH, NONRECURSIVE, OVERRIDABLE, attach_argument, error_of, opened
from tests.support.daemon import Overlay, open_descriptors
from tests.support.network import passes
from tests.support.programs import BPF_PROG_TYPE_SOCKET_FILTER, CONTROL_FILE, DENY, Hook, program
from tests.support.syscalls import syscall
from tests.support.waiting import until

every_hook = pytest.mark.parametrize("hook", Hook)
EGRESS = CONTROL_FILE[Hook.EGRESS]

TAG = "0123456789abcdef"
GARBAGE = {
    "newline": b"\n",
    "space": b" ",
    "zero": b"\0",
    "zeros": b"\0" * 4096,
    "word": b"garbage\n",
    "capitals": b"NONE\n",
    "part of none": b"non",
    "none and a space": b"none ",
    "none and a zero": b"none\0",
    "none, a newline and a zero": b"none\n\0",
    "none twice": b"none\nnone\n",
    "none and an empty line": b"none\n\n",
    "none in another line": b"\nnone\n",
    "none of DOS": b"none\r\n",
    "not UTF-8": b"\xff\xfe\n",
    "no tag": b"bpf:\n",
    "tag too short": b"bpf:0123456789abcde\n",
    "tag too long": b"bpf:0123456789abcdef0\n",
    "tag in capitals": b"bpf:0123456789ABCDEF\n",
    "unknown tag": f"bpf:{TAG}\n".encode(),
    "unknown tag, overridable": f"bpf(overridable):{TAG}\n".encode(),
    "unknown tag, nonrecursive": f"bpf(nonrecursive):{TAG}\n".encode(),
    "unknown mode": f"bpf(recursive):{TAG}\n".encode(),
    "empty mode": f"bpf():{TAG}\n".encode(),
    "two modes": f"bpf(overridable)(nonrecursive):{TAG}\n".encode(),
    "two tags": f"bpf:{TAG}\nbpf:{TAG}\n".encode(),
    "unknown text": b"iptables:-j DROP\n",
    "escape sequence": b"\x1b[2J\n",
    "a large one": b"none" * 4096,
}


@pytest.fixture(params=Hook, ids=lambda hook: CONTROL_FILE[hook])
def hook(request: pytest.FixtureRequest) -> Hook:
    chosen: Hook = request.param
    return chosen


@pytest.fixture
def unchanged(twin: Twin) -> Iterator[Path]:
    """The egress file, with a program attached: after the test it is there as before."""
    path = twin.mirror / EGRESS
    with control.filtered(twin.mirror, Hook.EGRESS) as shown:
        ids = attached_ids(twin.native, Hook.EGRESS)
        yield path
        assert path.read_text() == shown
        assert path.stat().st_size == len(shown)
        assert attached_ids(twin.native, Hook.EGRESS) == ids


def write_error(path: Path, data: bytes, flags: int = os.O_WRONLY) -> int:
    with opened(path, flags) as fd:
        return error_of(lambda: os.write(fd, data))


# Writing.


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_einval(unchanged: Path, data: bytes) -> None:
    assert write_error(unchanged, data) == errno.EINVAL
    assert write_error(unchanged, data, os.O_RDWR | os.O_APPEND) == errno.EINVAL
    assert write_error(unchanged, data, os.O_WRONLY | os.O_TRUNC) == errno.EINVAL


@pytest.mark.parametrize(
    "text",
    [
        "families:inet",  # for another file
        "cbpf:",
        "cbpf:1,6 0 0",
        "cbpf:2,6 0 0 0",
        "cbpf:1,999 0 0 0",
        "cbpf:1,5 0 0 7",
    ],
)
def test_a_text_that_is_no_filter_is_einval(unchanged: Path, text: str) -> None:
    assert write_error(unchanged, text.encode()) == errno.EINVAL


@pytest.mark.parametrize(
    "text", ["families:unix", "families:inet,", "families:inet,inet", "families:INET", "cbpf:1,6 0 0 0"]
)
def test_a_list_that_is_no_filter_is_einval(twin: Twin, text: str) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.SOCKET_CREATE]
    assert write_error(path, text.encode()) == errno.EINVAL
    assert path.read_text() == "none\n"


@pytest.mark.parametrize("size", [LARGEST_COMMAND + 1, 128 << 10, (128 << 10) + 1, 1 << 20, (1 << 20) + 5, 3 << 20])
@pytest.mark.parametrize("beginning", [b"none\n", b"\0"])
def test_what_is_too_large_is_e2big_and_no_part_of_it_is_taken(unchanged: Path, size: int, beginning: bytes) -> None:
    assert write_error(unchanged, beginning.ljust(size, b"\n")) == errno.E2BIG


def test_a_text_of_more_than_64_kib_is_e2big(unchanged: Path) -> None:
    assert write_error(unchanged, b"cbpf:" + b"1" * (64 << 10)) == errno.E2BIG


def test_a_command_in_pieces_is_no_command(unchanged: Path) -> None:
    for pieces in ([b"no", b"ne"], [b"n"] * 4, [b"bpf:", TAG.encode()]):
        with opened(unchanged, os.O_WRONLY) as fd:
            for piece in pieces:
                assert error_of(partial(os.write, fd, piece)) == errno.EINVAL


def test_a_vector_is_one_command(twin: Twin) -> None:
    path = twin.mirror / EGRESS
    with control.filtered(twin.mirror, Hook.EGRESS), opened(path, os.O_WRONLY) as fd:
        assert error_of(lambda: os.writev(fd, [b"none\n"] * 2)) == errno.EINVAL
        assert error_of(lambda: os.writev(fd, [b"x"] * 1000)) == errno.EINVAL
        assert os.writev(fd, [b"no", b"", b"ne", b"\n"]) == 5
        assert path.read_text() == "none\n"


def test_an_empty_write_changes_nothing(unchanged: Path) -> None:
    """The kernel answers it by itself, on cgroup2 and here: nothing arrives."""
    with opened(unchanged, os.O_WRONLY) as fd:
        assert os.write(fd, b"") == 0


@pytest.mark.parametrize("offset", [0, 1, 4, 4096, 1 << 40])
def test_the_offset_means_nothing(twin: Twin, offset: int) -> None:
    path = twin.mirror / EGRESS
    with control.filtered(twin.mirror, Hook.EGRESS) as shown, opened(path, os.O_WRONLY) as fd:
        assert error_of(lambda: os.pwrite(fd, b"garbage", offset)) == errno.EINVAL
        assert path.read_text() == shown
        assert os.pwrite(fd, b"none\n", offset) == 5
        assert path.read_text() == "none\n"
        assert path.stat().st_size == 5


# The ioctl.


def ioctl_error(path: Path, command: int, argument: bytearray | int, flags: int = os.O_WRONLY) -> int:
    with opened(path, flags) as fd:
        return error_of(lambda: fcntl.ioctl(fd, command, argument))


def test_a_file_open_for_reading_is_ebadf(unchanged: Path) -> None:
    with program(Hook.EGRESS, salt=1) as prog_fd:
        argument = attach_argument(prog_fd)
        assert ioctl_error(unchanged, IOC_ATTACH, argument, os.O_RDONLY) == errno.EBADF


def test_a_descriptor_that_is_not_open_is_ebadf(unchanged: Path) -> None:
    with program(Hook.EGRESS, salt=1) as prog_fd:
        high = fcntl.fcntl(prog_fd, fcntl.F_DUPFD, 700)
    os.close(high)
    for number in (high, -1, -100, 1 << 30, (1 << 31) - 1, -(1 << 31)):
        assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(number)) == errno.EBADF


def not_programs() -> dict[str, Callable[[], int]]:
    return {
        "socket": lambda: socket.socket().detach(),
        "file": lambda: os.open("/dev/null", os.O_RDWR),
        "directory": lambda: os.open("/", os.O_RDONLY),
        "path": lambda: os.open("/", os.O_PATH),
        "pipe": lambda: os.pipe()[0],
        "pidfd": lambda: os.pidfd_open(os.getpid()),
    }


@pytest.mark.parametrize("kind", not_programs())
@pytest.mark.parametrize("flags", [0, NONRECURSIVE])
def test_a_descriptor_of_something_else_is_einval(unchanged: Path, kind: str, flags: int) -> None:
    fd = not_programs()[kind]()
    assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(fd, flags)) == errno.EINVAL
    os.close(fd)


def test_a_map_and_a_link_are_einval(unchanged: Path, twin: Twin) -> None:
    with programs.a_map() as map_fd:
        assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(map_fd)) == errno.EINVAL
    with program(Hook.INGRESS) as prog_fd, programs.link(twin.native, prog_fd, Hook.INGRESS) as link_fd:
        assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(link_fd)) == errno.EINVAL


def test_the_control_file_itself_is_einval(unchanged: Path) -> None:
    with opened(unchanged, os.O_WRONLY) as fd:
        assert error_of(lambda: control.attach_fd(fd, fd)) == errno.EINVAL


@pytest.mark.parametrize("flags", [0, OVERRIDABLE, NONRECURSIVE])
def test_a_program_of_the_wrong_type_is_einval(twin: Twin, hook: Hook, flags: int) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    other = Hook.SOCKET_CREATE if hook != Hook.SOCKET_CREATE else Hook.EGRESS
    with program(other) as wrong, program(hook, prog_type=BPF_PROG_TYPE_SOCKET_FILTER) as filter_fd:
        for prog_fd in (wrong, filter_fd):
            assert ioctl_error(path, IOC_ATTACH, attach_argument(prog_fd, flags)) == errno.EINVAL
    assert path.read_text() == "none\n"


@pytest.mark.parametrize("flags", [OVERRIDABLE | NONRECURSIVE, 4, 8, 1 << 31, 0xFFFFFFFF, NONRECURSIVE | 4])
def test_unknown_flags_and_both_are_einval(unchanged: Path, flags: int) -> None:
    with program(Hook.EGRESS, salt=1) as prog_fd:
        assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(prog_fd, flags)) == errno.EINVAL


@pytest.mark.parametrize("reserved", [(1, 0), (0, 1), (1 << 63, 0), (0, 1 << 63)])
def test_reserved_fields_that_are_not_zero_are_einval(unchanged: Path, reserved: tuple[int, int]) -> None:
    with program(Hook.EGRESS, salt=1) as prog_fd:
        assert ioctl_error(unchanged, IOC_ATTACH, attach_argument(prog_fd, 0, reserved)) == errno.EINVAL


def unknown_commands() -> dict[str, int]:
    return {
        "next number": IOC_ATTACH + 1,
        "number 0": IOC_ATTACH - 1,
        "smaller": 1 << 30 | 16 << 16 | 0xC6 << 8 | 1,
        "larger": 1 << 30 | 32 << 16 | 0xC6 << 8 | 1,
        "as large as can be": 1 << 30 | 0x3FFF << 16 | 0xC6 << 8 | 1,
        "for reading": 2 << 30 | 24 << 16 | 0xC6 << 8 | 1,
        "both ways": 3 << 30 | 24 << 16 | 0xC6 << 8 | 1,
        "another magic": 1 << 30 | 24 << 16 | 0xC7 << 8 | 1,
        "of a terminal": termios.TCGETS,
        "0": 0,
    }


@pytest.mark.parametrize("name", unknown_commands())
def test_an_unknown_command_is_enotty(unchanged: Path, name: str) -> None:
    with program(Hook.EGRESS, salt=1) as prog_fd:
        argument = attach_argument(prog_fd) + bytes(1 << 14)
        for flags in (os.O_WRONLY, os.O_RDONLY):
            assert ioctl_error(unchanged, unknown_commands()[name], argument, flags) == errno.ENOTTY


def test_other_files_and_directories_know_no_ioctl(twin: Twin) -> None:
    with program(Hook.EGRESS) as prog_fd:
        argument = attach_argument(prog_fd)
        assert ioctl_error(twin.mirror / "cgroup.procs", IOC_ATTACH, argument) == errno.ENOTTY
        assert ioctl_error(twin.mirror, IOC_ATTACH, argument, os.O_RDONLY) == errno.ENOTTY
    assert attached_ids(twin.native, Hook.EGRESS) == []


def test_an_argument_that_cannot_be_read_is_efault(unchanged: Path) -> None:
    with opened(unchanged, os.O_WRONLY) as fd:
        for address in (0, 8, 1 << 46):
            assert error_of(partial(ioctl_at, fd, address)) == errno.EFAULT


def ioctl_at(fd: int, address: int) -> None:
    syscall({"x86_64": 16}.get(os.uname().machine, 29), fd, IOC_ATTACH, address)


def test_a_removed_cgroup_is_enodev(twin: Twin, hook: Hook) -> None:
    directory = twin.mirror / "sub"
    directory.mkdir()
    with program(hook) as prog_fd, opened(directory / CONTROL_FILE[hook], os.O_RDWR) as fd:
        directory.rmdir()
        for flags in (0, OVERRIDABLE, NONRECURSIVE):
            assert error_of(partial(control.attach_fd, fd, prog_fd, flags)) == errno.ENODEV
        assert error_of(lambda: os.write(fd, b"none")) == errno.ENODEV
        assert error_of(lambda: os.pread(fd, 10, 0)) == errno.ENODEV


def attach_for_ever(path: Path, prog_fds: list[int]) -> None:
    """In a child."""
    with opened(path, os.O_WRONLY) as fd:
        while True:
            for prog_fd, flags in zip(prog_fds, (0, NONRECURSIVE), strict=True):
                control.attach_fd(fd, prog_fd, flags)
                os.pwrite(fd, b"cbpf:1,6 0 0 0", 0)


def has_changed_since(path: Path, mtime_ns: int) -> bool:
    return path.stat().st_mtime_ns != mtime_ns


def test_a_caller_killed_in_mid_call_leaves_the_file_right(overlay: Overlay, twin: Twin) -> None:
    """Whatever it was in the middle of was done whole, or not at all; and nothing of it stays open."""
    path = twin.mirror / EGRESS
    before = open_descriptors(overlay.pid)
    with program(Hook.EGRESS, DENY) as one, program(Hook.EGRESS, DENY, salt=1) as two:
        control.attach(path, one)
        states = {control.shown(one), control.shown(two).replace("bpf", "bpf(nonrecursive)"), "cbpf:1,6 0 0 0\n"}
        for _ in range(20):
            with Child() as child:
                child.begin(attach_for_ever, path, [one, two])
                begun = path.stat().st_mtime_ns
                until(partial(has_changed_since, path, begun), "the child attaches")
                os.kill(child.pid, signal.SIGKILL)
            assert path.read_text() in states
            assert len(attached_ids(twin.native, Hook.EGRESS)) == 1
        assert passes(twin.native, Hook.EGRESS) == {False}
    until(lambda: not overlay.more_descriptors(before), "the daemon has closed what it took")
    path.write_text("none")
    assert path.read_text() == "none\n"


def test_a_handle_that_was_closed_is_gone(twin: Twin) -> None:
    """Hundreds of opens: each has a state of its own, and leaves none."""
    path = twin.mirror / EGRESS
    for _ in range(300):
        with opened(path, os.O_RDWR) as one, opened(path) as two:
            assert os.read(one, 2) + os.read(two, 5) == b"nonone\n"
