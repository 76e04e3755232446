"""The ioctl: programs attached through a control file, proven by packets and refused sockets, and what it leaves."""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import socket
import struct
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.cgroups import cgroup_id
from tests.support.child import Child
from tests.support.control import NONRECURSIVE, OVERRIDABLE, error_of, opened
from tests.support.network import FAMILIES, LOOPBACK, can_create_socket, drops, passes, socket_in, tcp_exchange
from tests.support.programs import ALLOW, CONTROL_FILE, DENY, Hook, fdinfo_id, fdinfo_tag, program
from tests.support.waiting import DEADLINE_S, until

every_hook = pytest.mark.parametrize("hook", Hook)
CLONE_FILES = 0x400
WORD = {0: "bpf", OVERRIDABLE: "bpf(overridable)", NONRECURSIVE: "bpf(nonrecursive)"}


def line(prog_fd: int, flags: int = 0) -> str:
    return f"{WORD[flags]}:{fdinfo_tag(prog_fd)}\n"


def file_of(twin: Twin, hook: Hook) -> Path:
    return twin.mirror / CONTROL_FILE[hook]


@every_hook
def test_a_program_is_attached_shown_in_force_and_removed(twin: Twin, hook: Hook) -> None:
    path = file_of(twin, hook)
    assert passes(twin.native, hook) == {True}
    with program(hook) as prog_fd:
        control.attach(path, prog_fd)
        assert path.read_text() == line(prog_fd)
        assert attached_ids(twin.native, hook) == [fdinfo_id(prog_fd)]
    assert passes(twin.native, hook) == {False}
    path.write_text("none\n")
    assert path.read_text() == "none\n"
    assert attached_ids(twin.native, hook) == []
    assert passes(twin.native, hook) == {True}


def test_a_connection_over_tcp_goes_by_the_filters_too(twin: Twin) -> None:
    with control.filtered(twin.mirror, Hook.EGRESS, ALLOW), control.filtered(twin.mirror, Hook.INGRESS, ALLOW):
        assert [tcp_exchange(twin.native, family) for family in FAMILIES] == [b"hello"] * 2


@every_hook
@pytest.mark.parametrize("flags", [0, OVERRIDABLE, NONRECURSIVE])
def test_each_mode_holds_here_and_below_as_it_says(twin: Twin, hook: Hook, flags: int) -> None:
    (twin.mirror / "child").mkdir()
    path = file_of(twin, hook)
    with program(hook) as prog_fd:
        control.attach(path, prog_fd, flags)
        assert path.read_text() == line(prog_fd, flags)
    assert passes(twin.native, hook) == {False}
    assert passes(twin.native / "child", hook) == {flags == NONRECURSIVE}
    kernel_flags = programs.ALLOW_OVERRIDE if flags == OVERRIDABLE else programs.ALLOW_MULTI
    assert programs.query(twin.native, hook).flags == kernel_flags
    path.write_text("none")
    assert passes(twin.native, hook) == {True}


@every_hook
def test_what_came_through_the_file_is_replaced_and_what_others_attached_stays(twin: Twin, hook: Hook) -> None:
    path = file_of(twin, hook)
    with (
        program(hook, ALLOW) as other,
        program(hook, ALLOW, salt=1) as linked,
        program(hook, salt=2) as first,
        program(hook, salt=3) as second,
        programs.link(twin.native, linked, hook),
    ):
        programs.attach(twin.native, other, hook)
        control.attach(path, first)
        assert path.read_text() == line(linked) + line(other) + line(first)
        control.attach(path, second)
        assert path.read_text() == line(linked) + line(other) + line(second)
        assert attached_ids(twin.native, hook) == [fdinfo_id(fd) for fd in (linked, other, second)]


@every_hook
def test_none_removes_everything_links_included(twin: Twin, hook: Hook) -> None:
    path = file_of(twin, hook)
    with program(hook) as other, program(hook, salt=1) as linked, program(hook, salt=2) as own:
        with programs.link(twin.native, linked, hook):
            programs.attach(twin.native, other, hook)
            control.attach(path, own)
            path.write_text("none")
            assert path.read_text() == "none\n"
            assert attached_ids(twin.native, hook) == []
            assert passes(twin.native, hook) == {True}
            path.write_text("none")  # and none is no error where nothing is
        assert path.read_text() == "none\n"


@pytest.mark.parametrize("flags", [0, OVERRIDABLE, NONRECURSIVE])
def test_the_same_program_again_succeeds(twin: Twin, flags: int) -> None:
    path = file_of(twin, Hook.EGRESS)
    with program(Hook.EGRESS) as prog_fd:
        for _ in range(3):
            control.attach(path, prog_fd, flags)
            assert path.read_text() == line(prog_fd, flags)
        assert len(attached_ids(twin.native, Hook.EGRESS)) == 1


def test_a_program_that_others_attached_is_eexist(twin: Twin) -> None:
    path = file_of(twin, Hook.EGRESS)
    with program(Hook.EGRESS) as prog_fd:
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        assert error_of(lambda: control.attach(path, prog_fd)) == errno.EEXIST
        assert path.read_text() == line(prog_fd)


def test_the_kernel_modes_do_not_replace_each_other(twin: Twin) -> None:
    path = file_of(twin, Hook.EGRESS)
    with program(Hook.EGRESS) as first, program(Hook.EGRESS, salt=1) as second:
        for before, others in ((0, [OVERRIDABLE]), (NONRECURSIVE, [OVERRIDABLE]), (OVERRIDABLE, [0, NONRECURSIVE])):
            control.attach(path, first, before)
            for flags, prog_fd in itertools.product(others, (first, second)):
                assert error_of(partial(control.attach, path, prog_fd, flags)) == errno.EBUSY
            assert path.read_text() == line(first, before)
            path.write_text("none")


def test_the_65th_program_is_e2big(twin: Twin) -> None:
    path = file_of(twin, Hook.EGRESS)
    for salt in range(64):
        with program(Hook.EGRESS, ALLOW, salt=salt) as other:
            programs.attach(twin.native, other, Hook.EGRESS)
    assert len(path.read_text().splitlines()) == 64
    with program(Hook.EGRESS) as prog_fd:
        assert error_of(lambda: control.attach(path, prog_fd)) == errno.E2BIG
    path.write_text("none")
    assert path.read_text() == "none\n"


def test_the_program_is_that_of_the_calling_thread(twin: Twin) -> None:
    """A thread that has left its process's descriptors: what is open in it is what counts."""
    path = file_of(twin, Hook.EGRESS)
    errors: list[int] = []
    numbers: list[int] = []
    attached, done = threading.Event(), threading.Event()

    def call(program_id: int) -> None:
        if ctypes.CDLL(None).unshare(CLONE_FILES) == 0:
            numbers.append(fcntl.fcntl(programs.program_by_id(program_id), fcntl.F_DUPFD, 500))
            errors.append(error_of(lambda: control.attach(path, numbers[0])))
        attached.set()
        done.wait(DEADLINE_S)

    with program(Hook.EGRESS) as prog_fd:
        thread = threading.Thread(target=call, args=(fdinfo_id(prog_fd),))
        thread.start()
        try:
            assert attached.wait(DEADLINE_S)
            assert errors == [0]
            assert path.read_text() == line(prog_fd)
            assert error_of(lambda: os.fstat(numbers[0])) == errno.EBADF
            assert error_of(lambda: control.attach(path, numbers[0])) == errno.EBADF
        finally:
            done.set()
            thread.join()
        assert path.read_text() == line(prog_fd)


def test_many_at_once_leave_one(twin: Twin) -> None:
    path = file_of(twin, Hook.EGRESS)
    fds = [programs.load(Hook.EGRESS, DENY, salt=salt) for salt in range(8)]
    try:

        def attach_often(prog_fd: int) -> None:
            for _ in range(20):
                control.attach(path, prog_fd)

        threads = [threading.Thread(target=attach_often, args=(fd,)) for fd in fds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert path.read_text() in [line(fd) for fd in fds]
        assert len(attached_ids(twin.native, Hook.EGRESS)) == 1
    finally:
        for fd in fds:
            os.close(fd)


# Replacement without a gap: a stream of attempts, each of which would succeed in one.

_shared = mmap.mmap(-1, mmap.PAGESIZE)
"""What a child says to the test, and the test to it: how often it has tried, and that it is to end."""
_TRIED, _END = struct.Struct("=Q"), 8


def try_until_told(hook: Hook, sender_fds: list[int], receiver_fds: list[int]) -> tuple[int, int]:
    """In a child: try to create sockets, or to send packets, until told to end: how often, and how often it worked."""
    tried = passed = 0
    senders = [socket.socket(fileno=os.dup(fd)) for fd in sender_fds]
    addresses = [socket.socket(fileno=os.dup(fd)).getsockname() for fd in receiver_fds]
    while not _shared[_END]:
        for sender, address, family in zip(senders, addresses, FAMILIES, strict=True):
            try:
                if hook == Hook.SOCKET_CREATE:
                    socket.socket(family, socket.SOCK_DGRAM).close()
                else:
                    sender.sendto(b"x", address)
                passed += 1
            except PermissionError:
                pass
            tried += 1
            _TRIED.pack_into(_shared, 0, tried)
    return tried, passed


def tried() -> int:
    count: int = _TRIED.unpack_from(_shared)[0]
    return count


@every_hook
def test_a_thousand_replacements_let_nothing_through(twin: Twin, hook: Hook) -> None:
    """One denying program after the other, now and then nonrecursive, which is the same kernel mode."""
    with (
        contextlib.ExitStack() as stack,
        program(hook) as first,
        program(hook, salt=1) as second,
        opened(file_of(twin, hook), os.O_WRONLY) as control_fd,
    ):
        inside = [stack.enter_context(socket_in(twin.native, family)) for family in FAMILIES]
        outside = [stack.enter_context(socket_in(None, family)) for family in FAMILIES]
        senders, receivers = (inside, outside) if hook == Hook.EGRESS else (outside, inside)
        for receiver in receivers:
            receiver.bind((LOOPBACK[socket.AddressFamily(receiver.family)], 0))
            receiver.setblocking(False)
        control.attach_fd(control_fd, first)
        _shared[: _END + 1] = bytes(_END + 1)
        with Child(twin.native if hook == Hook.SOCKET_CREATE else None) as child:
            child.begin(try_until_told, hook, [s.fileno() for s in senders], [r.fileno() for r in receivers])
            until(tried, "the stream of attempts has begun")
            for count in range(1000):
                control.attach_fd(control_fd, (first, second)[count % 2], 0 if count % 10 else NONRECURSIVE)
            so_far = tried()
            until(lambda: tried() > so_far, "the stream of attempts goes on")
            _shared[_END] = 1
            attempts, passed = child.result()
        if hook == Hook.INGRESS:
            until(lambda: sum(map(drops, receivers)) == attempts, "every packet was dropped")
        else:
            assert passed == 0
        for receiver in receivers:
            with pytest.raises(BlockingIOError):
                receiver.recv(1)


# The daemon's death.

KEPT = {"default": 0, "overridable": OVERRIDABLE, "nonrecursive": NONRECURSIVE}


def test_every_filter_outlives_the_daemon_and_the_next_one_shows_the_same(
    start_overlay: StartOverlay, tmp_cgroup: Path
) -> None:
    """kill -9: what was attached in each mode holds, without a daemon and with the next."""
    for name, hook in itertools.product(KEPT, Hook):
        (tmp_cgroup / f"{name}-{hook}").mkdir()
    for name in ("text", "owned"):
        (tmp_cgroup / name).mkdir()
    with start_overlay() as overlay:
        mirror = overlay.path(tmp_cgroup)
        for (name, flags), hook in itertools.product(KEPT.items(), Hook):
            with program(hook) as prog_fd:
                control.attach(mirror / f"{name}-{hook}" / CONTROL_FILE[hook], prog_fd, flags)
        (mirror / "text" / CONTROL_FILE[Hook.SOCKET_CREATE]).write_text("families(nonrecursive):inet6")
        changed = mirror / "owned" / CONTROL_FILE[Hook.EGRESS]
        os.chown(changed, 1000, 1001)
        changed.chmod(0o600)
        before = all_files(mirror)
        overlay.kill()
        assert_filtered(tmp_cgroup)
    with start_overlay("next") as overlay:
        mirror = overlay.path(tmp_cgroup)
        assert all_files(mirror) == before
        found = (mirror / "owned" / CONTROL_FILE[Hook.EGRESS]).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 1001, 0o600)
        assert_filtered(tmp_cgroup)
        for name, hook in itertools.product(KEPT, Hook):
            (mirror / f"{name}-{hook}" / CONTROL_FILE[hook]).write_text("none")
            assert passes(tmp_cgroup / f"{name}-{hook}", hook) == {True}


def all_files(mirror: Path) -> dict[str, tuple[str, tuple[float, ...]]]:
    """What each control file of each child says, and what stat says of it."""
    answer: dict[str, tuple[str, tuple[float, ...]]] = {}
    for path in sorted(path for name in CONTROL_FILE.values() for path in mirror.glob(f"*/{name}")):
        found = path.stat()
        kept = (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime, found.st_ctime)
        answer[f"{path.parent.name}/{path.name}"] = (path.read_text(), kept)
    assert len(answer) == 3 * len(list(mirror.glob("*/cgroup.procs")))
    return answer


def assert_filtered(cgroup: Path) -> None:
    for name, hook in itertools.product(KEPT, Hook):
        assert passes(cgroup / f"{name}-{hook}", hook) == {False}
    assert [can_create_socket(cgroup / "text", family) for family in FAMILIES] == [False, True]


def test_what_is_kept_for_a_filter_goes_with_its_cgroup_at_the_latest_when_a_daemon_starts(
    start_overlay: StartOverlay, tmp_cgroup: Path
) -> None:
    path = tmp_cgroup / "nonrecursive"
    path.mkdir()
    with start_overlay() as overlay, program(Hook.EGRESS) as prog_fd:
        control.attach(overlay.path(path) / CONTROL_FILE[Hook.EGRESS], prog_fd, NONRECURSIVE)
        pin = Path("/run/cgfs-bpf/guards") / f"{cgroup_id(path)}-egress-{attached_ids(path, Hook.EGRESS)[0]}"
        assert pin.exists()
        path.rmdir()
        until(lambda: error_of(lambda: os.close(programs.program_by_id(int(pin.name.split("-")[2])))), "it is gone")
    with start_overlay("next"):
        until(lambda: not pin.exists(), "the pin is gone, too")
