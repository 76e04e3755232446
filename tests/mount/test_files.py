"""Open files of the mirror: who reads and writes what, with whose rights and whose pids, in both ways of reading.

With passthrough the kernel reads and writes most files by itself; without (`-o nopassthrough`) all comes to the mirror.
What is compared act by act with cgroup2 in differential/ is not repeated here: this is about descriptors that several
have, PID namespaces, cgroup namespaces, and cgroups that go while they are open.
"""

import contextlib
import errno
import itertools
import os
import random
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import Twin
from tests.support.cgroups import cgroup_of, processes
from tests.support.child import Child, run
from tests.support.daemon import Overlay
from tests.support.users import ALICE, CONTAINER, HOST, ROOT, Namespaces, delegate
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])

Views = pytest.mark.parametrize("view", ["native", "mirror"])
IN_PID_NAMESPACE = Namespaces(pid=True)


def see(twin: Twin, view: str) -> Path:
    return twin.native if view == "native" else twin.mirror


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def errno_of(function: Callable[..., object], *arguments: object) -> int:
    """The errno that *function* fails with, 0 if it does not; in a child or here."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def write_text(path: Path, text: str, flags: int = os.O_WRONLY) -> int:
    with opened(path, flags) as fd:
        return os.write(fd, text.encode())


# --- who has the file open in which way, and in which order ---------------------------------------------------------

MODES = {"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR}


@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.max.depth", "cgroup.subtree_control", "cpu.pressure"])
@pytest.mark.parametrize("order", list(itertools.permutations(MODES)), ids="-".join)
def test_a_file_is_open_in_every_way_at_once(twin: Twin, name: str, order: tuple[str, ...]) -> None:
    """The kernel allows one way of going by it per file at a time: an open that does not fit is EIO."""
    path, expected = twin.mirror / name, (twin.native / name).read_bytes()
    with contextlib.ExitStack() as stack:
        fds = {how: stack.enter_context(opened(path, MODES[how])) for how in order}
        for how in ("read", "both"):
            assert len(os.pread(fds[how], 4096, 0)) == len(expected)
        with opened(path, os.O_RDWR | os.O_TRUNC) as last:
            assert len(os.pread(last, 4096, 0)) == len(expected)
    assert len(path.read_bytes()) == len(expected)


def open_at_random(directory: Path, seed: int) -> set[str]:
    """In a child: open, read and close files in all ways, several at a time; what went wrong."""
    chance, held, wrong = random.Random(seed), [], set()
    for _ in range(400):
        name = chance.choice(("cgroup.procs", "cgroup.max.depth", "cpu.pressure"))
        flags = chance.choice(list(MODES.values()))
        try:
            held.append(os.open(directory / name, flags))
            if flags != os.O_WRONLY:
                os.pread(held[-1], 4096, 0)
        except OSError as error:
            wrong.add(f"{name} {flags}: {error}")
        while len(held) > 4:
            os.close(held.pop(chance.randrange(len(held))))
    for fd in held:
        os.close(fd)
    return wrong


def test_files_that_many_open_in_all_ways_are_refused_to_nobody(overlay: Overlay, twin: Twin) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child()) for _ in range(4)]
        for seed, child in enumerate(children):
            child.begin(open_at_random, twin.mirror, seed)
        assert [child.result() for child in children] == [set()] * 4
    overlay.assert_no_descriptors_leaked()


def test_what_is_written_is_read_by_all_who_have_the_file_open(twin: Twin) -> None:
    path = twin.mirror / "cgroup.max.depth"
    with opened(path, os.O_RDONLY) as one, opened(path, os.O_RDWR) as two, opened(path, os.O_WRONLY) as three:
        for number, text in enumerate((b"1\n", b"22\n", b"max\n")):
            assert os.pwrite((two, three)[number % 2], text, 0) == len(text)
            assert os.pread(one, 100, 0) == os.pread(two, 100, 0) == text
    assert (twin.native / "cgroup.max.depth").read_text() == "max\n"


def test_direct_io_is_refused_as_on_cgroup2(twin: Twin) -> None:
    for view, flags in itertools.product(("native", "mirror"), (os.O_RDONLY, os.O_RDWR)):
        path = see(twin, view) / "cgroup.procs"
        assert errno_of(os.open, path, flags | os.O_DIRECT) == errno.EINVAL


def test_a_truncating_open_is_a_modification_and_a_plain_one_is_not(twin: Twin) -> None:
    path = twin.mirror / "cgroup.max.depth"
    os.utime(path, ns=(1, 1))
    with opened(path, os.O_WRONLY):
        pass
    assert path.stat().st_mtime_ns == 1
    with opened(path, os.O_WRONLY | os.O_TRUNC):
        pass
    assert path.stat().st_mtime_ns == (twin.native / "cgroup.max.depth").stat().st_mtime_ns > 1


def test_a_truncating_open_of_the_owners_takes_set_id_bits_away(twin: Twin) -> None:
    modes = []
    for directory in (twin.native, twin.mirror):
        path = directory / "cgroup.max.depth"
        os.chown(path, ALICE.uid, ALICE.gid)
        path.chmod(0o6755)
        run(lambda path=path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), identity=ALICE)  # type: ignore[misc]
        modes.append(path.stat().st_mode)
    assert modes[0] == modes[1]
    assert not modes[0] & stat.S_ISUID


def test_hundreds_of_open_files_are_kept_apart(overlay: Overlay, twin: Twin) -> None:
    made = [twin.native / f"{number}" for number in range(150)]
    for path in made:
        path.mkdir()
    with contextlib.ExitStack() as stack:
        fds = [stack.enter_context(opened(overlay.path(path) / "cgroup.procs", os.O_RDWR)) for path in made]
        with Child() as child:
            for path, fd in zip(made, fds, strict=True):
                os.write(fd, str(child.pid).encode())
                assert processes(path) == [child.pid]
                assert os.pread(fd, 100, 0) == b"%d\n" % child.pid
    overlay.assert_no_descriptors_leaked()


# --- long writes ----------------------------------------------------------------------------------------------------


@Views
@pytest.mark.parametrize("size", [4095, 4096, 4097, 10_000, 3 << 20])
@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.threads", "cgroup.max.depth"])
def test_a_write_of_more_than_a_page_is_too_big(twin: Twin, view: str, name: str, size: int) -> None:
    with Child(twin.native) as child, opened(see(twin, view) / name, os.O_WRONLY) as fd:
        number = child.pid if name != "cgroup.max.depth" else 7
        text = str(number).encode().ljust(size)
        if size <= 4096:
            assert os.write(fd, text) == size
        else:
            assert errno_of(os.write, fd, text) == errno.E2BIG
        assert (twin.native / "cgroup.max.depth").read_text() == ("7\n" if number == 7 and size <= 4096 else "max\n")


# --- PID namespaces -------------------------------------------------------------------------------------------------


def pids_by(path: Path, flags: int, step: int) -> list[int]:
    """In a child: the pids in the file, read in steps of so many bytes."""
    with opened(path, flags) as fd:
        return sorted(int(line) for line in b"".join(iter(lambda: os.read(fd, step), b"")).split())


@Views
@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.threads"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "both"])
def test_pids_are_read_as_the_readers_namespace_numbers_them(twin: Twin, view: str, name: str, flags: int) -> None:
    with Child(twin.native), Child(twin.native, namespaces=IN_PID_NAMESPACE) as inside:
        assert 1 in inside.call(pids_by, see(twin, view) / name, flags, 4096)
        # Two that it cannot see: the process outside, and the one that waits for it outside.
        assert inside.call(pids_by, see(twin, view) / name, flags, 3) == [0, 0, 1]
        assert sorted(processes(twin.native)) == sorted(
            int(line) for line in (see(twin, view) / name).read_text().split()
        )


def test_a_reader_sees_the_file_anew_from_its_beginning(twin: Twin) -> None:
    with (
        Child(twin.native, namespaces=IN_PID_NAMESPACE) as inside,
        Child() as other,
        opened(twin.mirror / "cgroup.procs", os.O_WRONLY) as writer,
    ):
        inside.call(open_and_keep, twin.mirror / "cgroup.procs", os.O_RDWR)
        assert sorted(inside.call(pread_kept, 4096, 0).split()) == [b"0", b"1"]
        os.write(writer, str(other.pid).encode())
        assert sorted(inside.call(pread_kept, 4096, 0).split()) == [b"0", b"0", b"1"]
        assert inside.call(pread_kept, 4096, 6) == b""


_kept: list[int] = []


def open_and_keep(path: Path, flags: int) -> None:
    """In a child: open the file for the calls that follow."""
    _kept.append(os.open(path, flags))


def pread_kept(size: int, offset: int) -> bytes:
    return os.pread(_kept[-1], size, offset)


def write_kept(text: str) -> int:
    return os.write(_kept[-1], text.encode())


@Views
def test_pids_are_written_as_the_writers_namespace_numbers_them(twin: Twin, view: str) -> None:
    path = see(twin, view) / "cgroup.procs"
    with Child() as outside, Child(namespaces=IN_PID_NAMESPACE) as inside:
        assert inside.call(errno_of, write_text, path, str(outside.pid)) == errno.ESRCH
        assert inside.call(errno_of, write_text, path, str(inside.pid)) == errno.ESRCH
        assert processes(twin.native) == []
        assert inside.call(write_text, path, "1") == 1
        assert processes(twin.native) == [inside.pid]


@Views
@pytest.mark.parametrize("namespaces", [HOST, IN_PID_NAMESPACE], ids=["host", "pid namespace"])
@pytest.mark.parametrize("spelling", ["0", "0\n", "-0", "00", "0x0", "\xa00"])
def test_zero_in_every_spelling_is_the_writer(twin: Twin, view: str, namespaces: Namespaces, spelling: str) -> None:
    with Child(namespaces=namespaces) as child:
        child.call(write_bytes, see(twin, view) / "cgroup.procs", spelling.encode("latin-1"))
        assert processes(twin.native) == [child.pid]


def write_bytes(path: Path, data: bytes) -> int:
    with opened(path, os.O_WRONLY) as fd:
        return os.write(fd, data)


@Views
def test_zero_through_a_descriptor_of_another_is_the_writer_not_the_opener(twin: Twin, view: str) -> None:
    with opened(see(twin, view) / "cgroup.procs", os.O_WRONLY) as fd, Child() as writer, Child() as bystander:
        assert writer.call(os.write, fd, b"0") == 1
        assert processes(twin.native) == [writer.pid]
        assert bystander.pid not in processes(twin.native)


@Views
def test_zero_in_cgroup_threads_is_the_thread_that_writes(twin: Twin, view: str) -> None:
    (twin.native / "inner").mkdir()
    (twin.native / "inner" / "cgroup.type").write_text("threaded")
    script = (
        "import sys, threading\n"
        "def body():\n"
        "    open(sys.argv[1], 'w').write('0')\n"
        "    print(threading.get_native_id(), open(sys.argv[2]).read().split())\n"
        "thread = threading.Thread(target=body); thread.start(); thread.join()\n"
    )
    join = f'echo 0 > {twin.native}/cgroup.procs; exec python3 -c "$0" "$@"'
    inner = see(twin, view) / "inner"
    done = subprocess.run(
        ["sh", "-c", join, script, inner / "cgroup.threads", twin.native / "inner" / "cgroup.threads"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    tid, _, threads = done.stdout.partition(" ")
    assert threads.strip() == f"['{tid}']"


# --- whose rights: the opener's, whoever writes ---------------------------------------------------------------------


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets for descriptors, made before the children that use them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def send_opened(channel_fd: int, path: Path, flags: int) -> None:
    """In a child: open the file and hand it over."""
    with socket.socket(fileno=os.dup(channel_fd)) as sending, opened(path, flags) as fd:
        socket.send_fds(sending, [b"."], [fd])


def receive(ours: socket.socket) -> int:
    return socket.recv_fds(ours, 1, 1)[1][0]


@Views
def test_a_delegate_writes_through_roots_descriptor_what_root_may(twin: Twin, view: str) -> None:
    """The reverse of CVE-2021-4197: rights are given with the descriptor, as natively."""
    with (
        opened(see(twin, view) / "cgroup.procs", os.O_WRONLY) as fd,
        Child() as victim,
        Child(identity=ALICE) as alice,
    ):
        assert alice.call(os.write, fd, str(victim.pid).encode())
        assert processes(twin.native) == [victim.pid]


@Views
def test_root_without_capabilities_moves_what_its_user_may_move(twin: Twin, view: str) -> None:
    """The common ancestor's cgroup.procs is another's: root's capability decides, and only where it is effective."""
    for name in ("from", "to"):
        (twin.native / name).mkdir()
    os.chown(twin.native / "cgroup.procs", ALICE.uid, ALICE.gid)
    target = see(twin, view) / "to" / "cgroup.procs"
    with Child(twin.native / "from") as victim, Child(identity=ROOT.with_capabilities()) as bare:
        assert bare.call(errno_of, write_text, target, str(victim.pid)) == errno.EACCES
        assert processes(twin.native / "from") == [victim.pid]
        assert write_text(target, str(victim.pid))
        assert processes(twin.native / "to") == [victim.pid]


@Views
def test_a_supplementary_group_opens_what_it_may_write(twin: Twin, view: str) -> None:
    member = type(ALICE)(ALICE.uid, ALICE.gid, groups=(2000, 2001))
    for path in (twin.native, twin.native / "cgroup.procs"):
        os.chown(path, 0, 2001)
        path.chmod(0o775 if path.is_dir() else 0o664)
    (twin.native / "home").mkdir()
    delegate(twin.native / "home", ALICE.uid, ALICE.gid)
    path = see(twin, view) / "cgroup.procs"
    with Child(twin.native / "home", member) as child, Child(twin.native / "home", ALICE) as alice:
        assert alice.call(errno_of, write_text, path, "0") == errno.EACCES
        assert child.call(write_text, path, "0") == 1
        assert processes(twin.native) == [child.pid]


def test_a_file_that_others_take_from_its_owner_is_refused_to_her_at_once(twin: Twin) -> None:
    """Also where she has opened it before, and the kernel has not been told yet that it is hers no more."""
    native, mirrored = twin.native / "cgroup.max.depth", twin.mirror / "cgroup.max.depth"
    with Child(identity=ALICE) as alice:
        for uid, mode in ((0, 0o644), (ALICE.uid, 0o444)) * 15:
            os.chown(native, ALICE.uid, ALICE.gid)
            native.chmod(0o644)
            until(lambda: alice.call(errors_of_writes, mirrored) == [0] * 20, "it is hers, and that is known")
            os.chown(native, uid, uid)
            native.chmod(mode)
            assert alice.call(errno_of, write_text, mirrored, "6") == errno.EACCES


def errors_of_writes(path: Path) -> list[int]:
    return [errno_of(write_text, path, "5") for _ in range(20)]


@Views
def test_an_unprivileged_pressure_trigger_has_the_long_window_only(
    twin: Twin, channel: tuple[socket.socket, socket.socket], view: str
) -> None:
    """Privilege is the opener's: root's write through her descriptor sets what she could set."""
    (twin.native / "cpu.pressure").chmod(0o666)
    with Child(identity=ALICE) as alice:
        alice.call(send_opened, channel[1].fileno(), see(twin, view) / "cpu.pressure", os.O_RDWR)
        fd = receive(channel[0])
    try:
        assert errno_of(os.write, fd, b"some 150000 1000000") == errno.EINVAL
        assert os.write(fd, b"some 150000 2000000") == 19
        assert errno_of(os.write, fd, b"some 150000 2000000") == errno.EBUSY
    finally:
        os.close(fd)


# --- cgroup namespaces ----------------------------------------------------------------------------------------------


@Views
def test_a_cgroup_namespace_bounds_the_files_that_are_opened_in_it(
    twin: Twin, channel: tuple[socket.socket, socket.socket], view: str, nsdelegate: None
) -> None:
    for name in ("outer", "outer/inner", "outer/inner/deep"):
        (twin.native / name).mkdir()
    outer = see(twin, view) / "outer"
    with Child(twin.native / "outer" / "inner", namespaces=Namespaces(cgroup=True)) as inside, Child() as mine:
        assert inside.call(errno_of, write_text, outer / "cgroup.procs", "0") == errno.ENOENT
        assert inside.call(errno_of, write_text, outer / "inner" / "cgroup.procs", str(mine.pid)) == errno.ENOENT
        assert inside.call(write_text, outer / "inner" / "deep" / "cgroup.procs", "0") == 1
        assert cgroup_of(inside.pid).endswith("/deep")
        # Settings of the namespace's own root are its creator's, but for those that move processes and controllers.
        assert inside.call(errno_of, write_text, outer / "inner" / "cgroup.max.depth", "1") == errno.EPERM
        assert inside.call(errno_of, write_text, outer / "inner" / "cpu.pressure", "some 150000 2000000") == errno.EPERM
        assert inside.call(errno_of, write_text, outer / "inner" / "cgroup.pressure", "0") == errno.EPERM
        assert inside.call(errno_of, write_text, outer / "inner" / "cgroup.type", "threaded") == errno.EPERM
        assert inside.call(write_text, outer / "inner" / "deep" / "cgroup.pressure", "0") == 1
        assert inside.call(write_text, outer / "inner" / "deep" / "cgroup.max.depth", "1") == 1
        # The namespace is the opener's, whoever writes.
        inside.call(send_opened, channel[1].fileno(), outer / "cgroup.procs", os.O_WRONLY)
        fd = receive(channel[0])
        assert errno_of(os.write, fd, str(inside.pid).encode()) == errno.ENOENT
        os.close(fd)
        with opened(outer / "cgroup.procs", os.O_WRONLY) as own:
            assert os.write(own, str(inside.pid).encode())
        assert processes(twin.native / "outer") == [inside.pid]


# --- cgroups that are removed ---------------------------------------------------------------------------------------


@Views
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cgroup.procs", b"0"),
        ("cgroup.procs", b"4194304"),
        ("cgroup.procs", b"x"),
        ("cgroup.threads", b"0"),
        ("cgroup.subtree_control", b""),
        ("cgroup.subtree_control", b"x"),
        ("cgroup.max.depth", b"1"),
        ("cpu.pressure", b"some 150000 2000000"),
    ],
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "both"])
def test_open_files_of_a_removed_cgroup_are_no_device(
    twin: Twin, view: str, name: str, text: bytes, flags: int
) -> None:
    (twin.native / "gone").mkdir()
    gone = see(twin, view) / "gone"
    with opened(gone / name, flags) as fd:
        gone.rmdir()
        gone.mkdir()
        assert errno_of(os.pread, fd, 100, 0) == errno.ENODEV
        if flags == os.O_RDWR and text:
            assert errno_of(os.pwrite, fd, text, 0) == errno.ENODEV
        os.fsync(fd)
    assert processes(twin.native / "gone") == []


# --- writes that wait -----------------------------------------------------------------------------------------------


def move_to_and_fro(one: Path, other: Path) -> None:
    """In a child: until it is killed."""
    with opened(one, os.O_WRONLY) as first, opened(other, os.O_WRONLY) as second:
        for fd in itertools.cycle((first, second)):
            os.write(fd, b"0")


def wait_until_inside(pid: int, cgroup: Path) -> None:
    until(lambda: cgroup.name in cgroup_of(pid), f"process {pid} is in {cgroup.name} or below")


def test_writers_killed_at_any_moment_end_and_leave_nothing(overlay: Overlay, twin: Twin) -> None:
    (twin.native / "a").mkdir()
    for _ in range(20):
        with Child() as child:
            child.begin(move_to_and_fro, twin.mirror / "cgroup.procs", twin.mirror / "a" / "cgroup.procs")
            wait_until_inside(child.pid, twin.native)
    assert (twin.mirror / "cgroup.procs").read_text() == (twin.mirror / "a" / "cgroup.procs").read_text() == ""
    overlay.assert_no_descriptors_leaked()


# --- containers -----------------------------------------------------------------------------------------------------


@Views
def test_a_container_moves_its_own_processes_and_no_others(twin: Twin, view: str) -> None:
    (twin.native / "outer").mkdir()
    (twin.native / "box").mkdir()
    delegate(twin.native / "box", 100_000, 100_000)
    with (
        Child(twin.native / "outer", ROOT) as foreign,
        Child(twin.native / "box", ROOT, CONTAINER) as inside,
    ):
        box = see(twin, view) / "box"
        inside.call(os.mkdir, box / "sub")
        assert inside.call(write_text, box / "sub" / "cgroup.procs", "1") == 1
        assert inside.call(pids_by, box / "sub" / "cgroup.procs", os.O_RDWR, 4096) == [1]
        assert inside.call(errno_of, write_text, box / "sub" / "cgroup.procs", str(foreign.pid)) == errno.ESRCH
        assert inside.call(errno_of, write_text, see(twin, view) / "outer" / "cgroup.procs", "1") == errno.EACCES
        assert (twin.native / "box" / "sub").stat().st_uid == 100_000
    assert processes(twin.native / "outer") == []
