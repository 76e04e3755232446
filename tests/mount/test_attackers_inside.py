"""Attempts from inside: a container that sees its subtree, callers that die, swap, hide or come by the thousand."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import control, programs
from tests.support.cgroups import cgroup_of, processes
from tests.support.child import Child
from tests.support.daemon import Overlay
from tests.support.places import public_directory
from tests.support.programs import ALLOW, CONTROL_FILE, DENY, Hook
from tests.support.syscalls import MS_BIND, MS_PRIVATE, MS_REC, mount
from tests.support.threads import stop
from tests.support.users import ALICE, CONTAINER_ROOT_ID, Namespaces, delegate
from tests.support.waiting import until

EGRESS = CONTROL_FILE[Hook.EGRESS]
SEPARATE = Namespaces(user=True, pid=True, cgroup=True, mount=True)


def enter_container(subtree: str, inside: str) -> None:
    """In a child with namespaces of its own: bind its subtree of the mirror to *inside*, as a runtime does."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(subtree, inside, None, MS_BIND)
    os.chdir(inside)


def ids_above(inside: str) -> list[int]:
    """In a child: where `..` leads from its root, by path, by directory descriptor and by working directory."""
    found = [os.stat(f"{inside}/..").st_dev, os.stat("..").st_dev]
    fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    found += [os.stat("..", dir_fd=fd).st_dev, os.stat(f"/proc/self/fd/{fd}/..").st_dev]
    os.close(fd)
    return found


def open_by_forged_handle(inside: str, node: int) -> int:
    """In a child: open_by_handle_at with a handle of FUSE's form for *node*; the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = struct.pack("=IiIII", 12, 0x81, node >> 32, node & 0xFFFFFFFF, 0)
    fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    result = libc.open_by_handle_at(fd, ctypes.create_string_buffer(handle, len(handle)), os.O_RDONLY)
    return ctypes.get_errno() if result < 0 else 0


@pytest.fixture
def mount_on() -> Path:
    """A directory for a container's bind mount."""
    return public_directory()


def test_a_container_finds_no_way_up(overlay: Overlay, twin: Twin, mount_on: Path) -> None:
    (twin.native / "sub").mkdir()
    delegate(twin.native / "sub", CONTAINER_ROOT_ID, CONTAINER_ROOT_ID)
    with Child(twin.native / "sub", namespaces=SEPARATE) as container:
        container.call(enter_container, str(twin.mirror / "sub"), str(mount_on))
        assert container.call(os.path.samefile, mount_on, ".")
        mirror = overlay.mountpoint.stat().st_dev
        assert mirror not in container.call(ids_above, str(mount_on))
        for node in (1, twin.native.stat().st_ino):
            assert container.call(open_by_forged_handle, str(mount_on), node) in (errno.EPERM, errno.ESTALE)
        with pytest.raises(PermissionError):
            container.call(os.listdir, f"/proc/{overlay.pid}/fd")


def test_a_container_works_in_its_subtree_as_on_cgroup2(twin: Twin, mount_on: Path) -> None:
    (twin.native / "sub").mkdir()
    delegate(twin.native / "sub", CONTAINER_ROOT_ID, CONTAINER_ROOT_ID)
    with Child(twin.native / "sub", namespaces=SEPARATE) as container:
        container.call(enter_container, str(twin.mirror / "sub"), str(mount_on))
        container.call(os.mkdir, "own")
        container.call(Path("own/cgroup.procs").write_text, "0")
        assert container.call(Path("own/cgroup.procs").read_text) == "1\n"
        assert container.call(cgroup_of) == "/own"
        assert container.call(Path(f"own/{EGRESS}").read_text) == "none\n"
        with pytest.raises(PermissionError):
            container.call(Path(EGRESS).write_text, "none")


def swap_during_ioctl(path: str, first: int, second: int, rounds: int) -> set[str]:
    """In a child: one thread attaches descriptor N again and again, one makes it another file again and again."""
    other = socket.socket()
    number = os.dup(first)
    end = threading.Event()

    def swap() -> None:
        while not end.is_set():
            for fd in (first, other.fileno(), second):
                os.dup2(fd, number)
            os.close(number)

    seen: set[str] = set()
    swapper = threading.Thread(target=swap)
    with open(path, "r+b", buffering=0) as file:  # before: it would get the number while that is closed
        swapper.start()
        for _ in range(rounds):
            try:
                control.attach_fd(file.fileno(), number)
                seen.add(os.pread(file.fileno(), 100, 0).decode())
            except OSError as error:
                seen.add(errno.errorcode[error.errno or 0])
        end.set()
        swapper.join()
    return seen


def test_descriptors_swapped_during_the_ioctl_are_one_or_the_other(overlay: Overlay, twin: Twin) -> None:
    path = twin.mirror / EGRESS
    with programs.program(Hook.EGRESS, ALLOW) as one, programs.program(Hook.EGRESS, ALLOW, salt=1) as two:
        allowed = {control.shown(one), control.shown(two), "EBADF", "EINVAL"}
        with Child() as child:
            assert child.call(swap_during_ioctl, str(path), one, two, 500) <= allowed
        control.attach(path, one)
        assert path.read_text() == control.shown(one)
        path.write_text("none")
    overlay.assert_no_descriptors_leaked()


def waits_in_ioctl(pid: int) -> bool:
    number = {"x86_64": "16"}.get(os.uname().machine, "29")
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] == number


def attach_and_hold(path: str, prog_fd: int) -> None:
    """In a child: open, say so by going on to the next call, and attach."""
    control.attach_fd(_opened[path], prog_fd)


_opened: dict[str, int] = {}


def open_for_writing(path: str) -> None:
    _opened[path] = os.open(path, os.O_WRONLY)


def test_a_caller_killed_before_its_ioctl_was_looked_at_attaches_nothing(overlay: Overlay, twin: Twin) -> None:
    """Its request goes with it: nobody who gets its pid afterwards is taken for it."""
    path = str(twin.mirror / EGRESS)
    with programs.program(Hook.EGRESS, DENY) as denying, Child() as child:
        child.call(open_for_writing, path)
        stop(overlay.pid)
        try:
            child.begin(attach_and_hold, path, denying)
            until(lambda: waits_in_ioctl(child.pid), "the caller waits in its ioctl")
            child.kill()
        finally:
            os.kill(overlay.pid, signal.SIGCONT)
        assert Path(path).read_text() == "none\n"
        assert programs.query(twin.native, Hook.EGRESS).program_ids == ()
    overlay.assert_no_descriptors_leaked()


def attach_for_ever(path: str, prog_fd: int) -> None:
    control_fd = os.open(path, os.O_WRONLY)
    while True:
        control.attach_fd(control_fd, prog_fd)


def test_callers_killed_at_any_moment_leave_the_file_right(overlay: Overlay, twin: Twin) -> None:
    path = twin.mirror / EGRESS
    with programs.program(Hook.EGRESS, ALLOW) as one, programs.program(Hook.EGRESS, ALLOW, salt=1) as two:
        for fd in (one, two) * 10:
            with Child() as child:
                child.begin(attach_for_ever, str(path), fd)
                until(lambda fd=fd: path.read_text() == control.shown(fd), "it has attached at least once")  # type: ignore[misc]
            assert path.read_text() == control.shown(fd)
            assert programs.query(twin.native, Hook.EGRESS).program_ids == (programs.fdinfo_id(fd),)
        path.write_text("none")
    overlay.assert_no_descriptors_leaked()


def attack_in_threads(path: str, prog_fd: int, threads: int, rounds: int) -> set[str]:
    """In a child: a thousand threads that open, read, write garbage and attach what they may not."""
    threading.stack_size(256 * 1024)
    seen: set[str] = set()

    def body() -> None:
        for _ in range(rounds):
            for flags in (os.O_RDONLY, os.O_RDWR):
                try:
                    fd = os.open(path, flags)
                except OSError as error:
                    seen.add(errno.errorcode[error.errno or 0])
                    continue
                seen.add(os.read(fd, 100).decode())
                for argument in (control.attach_argument(prog_fd), bytearray(24)):
                    try:
                        fcntl.ioctl(fd, control.IOC_ATTACH, argument)
                        seen.add("attached")
                    except OSError as error:
                        seen.add(errno.errorcode[error.errno or 0])
                os.close(fd)

    bodies = [threading.Thread(target=body) for _ in range(threads)]
    for thread in bodies:
        thread.start()
    for thread in bodies:
        thread.join()
    return seen


def test_a_thousand_threads_of_an_attacker_hold_up_nobody_and_gain_nothing(overlay: Overlay, twin: Twin) -> None:
    path = twin.mirror / EGRESS
    (twin.native / "other").mkdir()
    other = twin.mirror / "other" / EGRESS
    with programs.program(Hook.EGRESS, DENY) as denying, Child(identity=ALICE) as attacker:
        attacker.begin(attack_in_threads, str(path), denying, 1000, 2)
        for _ in range(20):
            control.attach(other, denying)
            assert other.read_text() == control.shown(denying)
            other.write_text("none")
            assert (twin.mirror / "cgroup.procs").read_text() == ""
        assert attacker.result() == {"none\n", "EACCES", "EBADF"}
    assert path.read_text() == "none\n"
    overlay.assert_no_descriptors_leaked()


def test_a_caller_whom_the_daemon_cannot_see_may_read_and_nothing_else(
    start_overlay: StartOverlay, tmp_cgroup: Path
) -> None:
    """A daemon in a PID namespace is told that such a caller's pid is 0: it has no groups, capabilities or files."""
    with start_overlay("blind", prefix=("unshare", "--pid", "--fork")) as blind, Child(identity=ALICE) as alice:
        mirror = blind.path(tmp_cgroup)
        assert alice.call((mirror / "cgroup.procs").read_text) == ""
        assert alice.call((mirror / EGRESS).read_text) == "none\n"
        with programs.program(Hook.EGRESS) as denying:
            with pytest.raises(PermissionError):
                control.attach(mirror / EGRESS, denying)
            programs.attach(tmp_cgroup, denying, Hook.EGRESS)
            with pytest.raises(PermissionError):
                (mirror / EGRESS).write_text("none")
            assert (mirror / EGRESS).read_text() == control.shown(denying)
            programs.detach_everything(tmp_cgroup)
        for pid in ("0", str(alice.pid)):
            with pytest.raises(ProcessLookupError):
                (mirror / "cgroup.procs").write_text(pid)
        assert processes(tmp_cgroup) == []
