"""What somebody without rights tries on a mirror, one attempt a test: none gains more than it would on cgroup2.

    top/                 root's
      foreign/           root's; a process of root
      alice/             delegated to uid 1000
        home/            where her process is
        sub/             made by her

Where cgroup2 itself is open to the same attempt, the test makes it there too: the answers are equal.
"""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import control, programs
from tests.support.cgroups import processes, temporary_cgroup
from tests.support.child import Child
from tests.support.daemon import Overlay
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.syscalls import CloneFlag, unshare
from tests.support.users import ALICE, delegate

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])

EGRESS = CONTROL_FILE[Hook.EGRESS]
Pair = tuple[socket.socket, socket.socket]
Views = pytest.mark.parametrize("view", ["native", "mirror"])


@dataclass(frozen=True, slots=True)
class Scene:
    """The cgroups of the module's docstring by their paths on cgroup2, and who is in them."""

    overlay: Overlay
    top: Path
    alice: Child
    foreign: Child

    def see(self, path: str, view: str = "mirror") -> Path:
        return self.top / path if view == "native" else self.overlay.path(self.top / path)

    @property
    def sub(self) -> Path:
        """Her cgroup, on the mirror."""
        return self.see("alice/sub")


@pytest.fixture
def scene(overlay: Overlay) -> Iterator[Scene]:
    with temporary_cgroup() as top:
        for name in ("foreign", "alice", "alice/home"):
            (top / name).mkdir()
        for name in ("alice", "alice/home"):
            delegate(top / name, ALICE.uid, ALICE.gid)
        with Child(top / "foreign") as foreign, Child(top / "alice" / "home", ALICE) as alice:
            alice.call(os.mkdir, overlay.path(top / "alice" / "sub"))
            yield Scene(overlay, top, alice, foreign)


def errno_of(path: Path, data: str, flags: int = os.O_WRONLY) -> int:
    """In a child: the errno of opening and writing, 0 if it worked."""
    try:
        fd = os.open(path, flags)
    except OSError as error:
        return error.errno or -1
    with os.fdopen(fd, "wb", buffering=0) as file:
        return errno_of_write(file.fileno(), data)


def errno_of_write(fd: int, data: str) -> int:
    try:
        os.write(fd, data.encode())
    except OSError as error:
        return error.errno or -1
    return 0


@Views
def test_a_delegate_cannot_pull_a_foreign_process_in(scene: Scene, view: str) -> None:
    target = scene.see("alice/sub/cgroup.procs", view)
    assert scene.alice.call(errno_of, target, str(scene.foreign.pid)) == errno.EACCES
    assert processes(scene.top / "foreign") == [scene.foreign.pid]


def errno_of_write_beside_readers(path: Path, data: str) -> int:
    """In a child: with the file open for reading, and for writing by somebody else, in every order."""
    reader = os.open(path, os.O_RDONLY)
    both = os.open(path, os.O_RDWR)
    os.read(reader, 100), os.read(both, 100)
    found = {errno_of_write(both, data), errno_of(path, data), errno_of(path, data, os.O_RDWR)}
    os.close(reader)
    found |= {errno_of_write(both, data)}
    os.close(both)
    return found.pop() if len(found) == 1 else -1


@Views
def test_nor_beside_files_that_root_and_she_have_open(scene: Scene, view: str) -> None:
    """What passes through the kernel is opened once for all who have the file open."""
    path = scene.see("alice/sub/cgroup.procs", view)
    with path.open("rb") as reading, path.open("wb") as writing:
        assert reading.read() == b""
        assert scene.alice.call(errno_of_write_beside_readers, path, str(scene.foreign.pid)) == errno.EACCES
        assert writing.writable()
    assert processes(scene.top / "foreign") == [scene.foreign.pid]


_kept: dict[str, int] = {}


def keep_open(path: Path, flags: int) -> None:
    """In a child: open *path* and keep it."""
    _kept["fd"] = os.open(path, flags)


def write_kept(data: str) -> int:
    return errno_of_write(_kept["fd"], data)


@Views
def test_nor_by_a_file_that_she_opened_while_the_process_was_hers(scene: Scene, view: str) -> None:
    scene.alice.call(keep_open, scene.see("alice/sub/cgroup.procs", view), os.O_WRONLY)
    own = scene.alice.call(fork_sleeper)
    assert scene.alice.call(write_kept, str(own)) == 0
    (scene.top / "foreign" / "cgroup.procs").write_text(str(own))
    assert scene.alice.call(write_kept, str(own)) == errno.EACCES
    assert set(processes(scene.top / "foreign")) == {own, scene.foreign.pid}


def fork_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def pass_descriptor(channel_fd: int, path: Path, flags: int) -> None:
    """In a child: open *path* as whoever it is and hand the descriptor on."""
    fd = os.open(path, flags)
    with socket.socket(fileno=os.dup(channel_fd)) as channel:
        socket.send_fds(channel, [b"d"], [fd])
    os.close(fd)


@contextlib.contextmanager
def opened_by(child: Child, pair: Pair, path: Path, flags: int = os.O_WRONLY) -> Iterator[int]:
    """A descriptor that *child* opened and the test process, which is root, now has.

    The pair of sockets was made before the child was, which so has them too.
    """
    child.call(pass_descriptor, pair[1].fileno(), path, flags)
    fd = socket.recv_fds(pair[0], 1, 1)[1][0]
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@Views
def test_root_moves_for_her_only_what_she_could_move(pair: Pair, scene: Scene, view: str) -> None:
    """CVE-2021-4197: a descriptor has the rights of who opened it."""
    with opened_by(scene.alice, pair, scene.see("alice/sub/cgroup.procs", view)) as fd:
        assert errno_of_write(fd, str(scene.foreign.pid)) == errno.EACCES
        assert errno_of_write(fd, str(scene.alice.pid)) == 0
    assert processes(scene.top / "foreign") == [scene.foreign.pid]
    assert processes(scene.top / "alice" / "sub") == [scene.alice.pid]


def test_root_clears_for_her_only_what_she_could_clear(pair: Pair, scene: Scene) -> None:
    with opened_by(scene.alice, pair, scene.sub / EGRESS) as fd, programs.program(Hook.EGRESS) as foreign:
        programs.attach(scene.top / "alice/sub", foreign, Hook.EGRESS)
        assert errno_of_write(fd, "none") == errno.EPERM
        assert (scene.sub / EGRESS).read_text() == control.shown(foreign)
        programs.detach_everything(scene.top / "alice/sub")


def reopen_for_writing(path: Path) -> None:
    """In a child: open *path* for reading, and from there for writing."""
    fd = os.open(path, os.O_RDONLY)
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))


def test_a_descriptor_for_reading_changes_nothing_whoever_has_it(pair: Pair, scene: Scene) -> None:
    path = scene.see(f"alice/{EGRESS}")
    with opened_by(scene.alice, pair, path, os.O_RDONLY) as fd, programs.program(Hook.EGRESS) as denying:
        with pytest.raises(OSError, match="Bad file descriptor"):
            control.attach_fd(fd, denying)
        with pytest.raises(PermissionError):
            scene.alice.call(reopen_for_writing, path)
        assert errno_of_write(fd, "none") == errno.EBADF
    assert programs.query(scene.top / "alice", Hook.EGRESS).program_ids == ()


@pytest.fixture
def setuid_echo(overlay: Overlay) -> Iterator[Path]:
    """A program that writes what it is told to, as root, whoever starts it."""
    path = overlay.mountpoint.with_name("setuid-echo")
    assert not os.statvfs(path.parent).f_flag & os.ST_NOSUID, "setuid programs do nothing in the temporary directory"
    shutil.copy("/bin/echo", path)
    path.chmod(0o4755)
    yield path
    path.unlink()


def run_with_stdout_on(program: Path, argument: str, target: Path) -> tuple[int, bytes]:
    """In a child: its exit status and what it complained of."""
    with open(target, "wb", buffering=0) as stdout:
        done = subprocess.run([program, argument], stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60)
    return done.returncode, done.stderr


def test_a_setuid_program_writes_to_a_filter_file_as_who_opened_it(scene: Scene, setuid_echo: Path) -> None:
    with programs.program(Hook.EGRESS) as foreign:
        programs.attach(scene.top / "alice/sub", foreign, Hook.EGRESS)
        status, words = scene.alice.call(run_with_stdout_on, setuid_echo, "none", scene.sub / EGRESS)
        assert status != 0
        assert b"Operation not permitted" in words
        assert (scene.sub / EGRESS).read_text() == control.shown(foreign)
        programs.detach_everything(scene.top / "alice/sub")


@Views
def test_a_setuid_program_moves_a_process_as_who_opened_the_file(scene: Scene, setuid_echo: Path, view: str) -> None:
    target = scene.see("alice/sub/cgroup.procs", view)
    status, words = scene.alice.call(run_with_stdout_on, setuid_echo, str(scene.foreign.pid), target)
    assert status != 0
    assert b"Permission denied" in words
    assert processes(scene.top / "foreign") == [scene.foreign.pid]


def errors_in_own_user_namespace(scene_top: Path, foreign: int) -> dict[str, int]:
    """In a child: become root of a user namespace of one's own, with every capability in it, and try."""
    uid = os.getuid()
    unshare(CloneFlag.NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    assert os.getuid() == 0

    def errno_of_call(function: object, *arguments: object) -> int:
        try:
            function(*arguments)  # type: ignore[operator]
        except OSError as error:
            return error.errno or -1
        return 0

    return {
        "pull": errno_of(scene_top / "alice/sub/cgroup.procs", str(foreign)),
        "limit": errno_of(scene_top / "alice/cgroup.max.depth", "1"),
        "limit above": errno_of(scene_top / "cgroup.max.depth", "1"),
        "mkdir above": errno_of_call(os.mkdir, scene_top / "new"),
        "chown": errno_of_call(os.chown, scene_top / "alice/cgroup.max.depth", 0, -1),
        "chmod": errno_of_call(os.chmod, scene_top / "alice/cgroup.max.depth", 0o666),
        "trusted xattr": errno_of_call(os.setxattr, scene_top / "alice", "trusted.cgfs.x", b""),
        "user xattr": errno_of_call(os.setxattr, scene_top, "user.x", b""),
    }


@Views
def test_capabilities_in_her_own_user_namespace_are_none_here(scene: Scene, view: str) -> None:
    with Child(scene.top / "alice" / "home", ALICE) as child:
        found = child.call(errors_in_own_user_namespace, scene.see("", view), scene.foreign.pid)
    refused = {errno.EACCES, errno.EPERM}
    assert {name for name, error in found.items() if error not in refused} == set(), found
    assert found["pull"] == errno.EACCES


def write_none_in_own_user_namespace(path: Path) -> int:
    unshare(CloneFlag.NEWUSER)
    return errno_of(path, "none")


def test_net_admin_in_her_own_user_namespace_clears_nothing_of_others(scene: Scene) -> None:
    with programs.program(Hook.EGRESS) as foreign, Child(scene.top / "alice" / "home", ALICE) as child:
        programs.attach(scene.top / "alice/sub", foreign, Hook.EGRESS)
        assert child.call(write_none_in_own_user_namespace, scene.sub / EGRESS) == errno.EPERM
        assert (scene.sub / EGRESS).read_text() == control.shown(foreign)
        programs.detach_everything(scene.top / "alice/sub")


def test_delegating_a_directory_gives_its_own_filter_files_away_to_nobody(scene: Scene) -> None:
    with programs.program(Hook.EGRESS) as denying:
        control.attach(scene.see(f"alice/{EGRESS}"), denying)
        for data in ("none", "x"):
            assert scene.alice.call(errno_of, scene.see(f"alice/{EGRESS}"), data) == errno.EACCES
        with pytest.raises(PermissionError):
            scene.alice.call(os.chmod, scene.see(f"alice/{EGRESS}"), 0o666)
        with pytest.raises(PermissionError):
            scene.alice.call(os.chown, scene.see(f"alice/{EGRESS}"), ALICE.uid, -1)
        assert (scene.see(f"alice/{EGRESS}")).read_text() == control.shown(denying)
        (scene.see(f"alice/{EGRESS}")).write_text("none")


@pytest.fixture(scope="module")
def uring_worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program tests/support/uring_worker.c."""
    program = tmp_path_factory.mktemp("uring") / "uring_worker"
    source = Path(programs.__file__).with_name("uring_worker.c")
    compiler = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
    subprocess.run([*compiler, str(source), "-o", str(program)], check=True)
    return program


def test_a_thread_of_io_uring_s_gives_nobody_back_what_he_has_given_up(
    overlay: Overlay, uring_worker: Path, scene: Scene
) -> None:
    """In /proc it still has it."""
    with programs.program(Hook.EGRESS) as theirs:
        programs.attach(scene.top, theirs, Hook.EGRESS)
        path = scene.see(EGRESS)
        done = subprocess.run([uring_worker, path, "none"], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == f"{errno.EPERM} {errno.EPERM}\n"
        assert path.read_text() == control.shown(theirs)


@Views
def test_nor_does_it_move_a_process_for_him(uring_worker: Path, scene: Scene, view: str) -> None:
    """Its cgroup.procs is somebody else's."""
    (scene.top / "other").mkdir()
    os.chown(scene.top / "other" / "cgroup.procs", ALICE.uid, ALICE.gid)
    path = scene.see("other/cgroup.procs", view)
    with Child() as child:
        command = [str(uring_worker), str(path), str(child.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == f"{errno.EACCES} {errno.EACCES}\n"
        assert processes(scene.top / "other") == []
