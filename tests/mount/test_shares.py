"""What the daemon has a limited number of, workers and descriptors, nobody can have all of.

Each user has a share (native/mirror/loop_share.c, descriptors.c); a user who has had his share waits, or is refused,
and nobody else.
"""

import contextlib
import ctypes
import errno
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support.cgroups import temporary_cgroup
from tests.support.child import Child, run
from tests.support.daemon import Overlay, limited_to
from tests.support.hold import held
from tests.support.threads import waiting_threads
from tests.support.users import ALICE, BOB, HOST, ROOT, Identity, Namespaces
from tests.support.waiting import until

MANY_WAIT = 64  # as many as may for one user
MANY_THREADS = 450  # more
NOFILE = 512
SHARE = NOFILE // 4
FIRST_UID = 3000

both = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])


# --- workers ----------------------------------------------------------------------------------------------------------


def _look_many_names_up(directory: Path, uids: int) -> None:
    """A thread for each of many names; with *uids*, of as many users in turn. They are not waited for."""

    def look(number: int) -> None:
        if uids > 1:
            _set_fsuid(FIRST_UID + number % uids)
        with contextlib.suppress(OSError):
            (directory / f"nothing-{number}").stat()

    for number in range(MANY_THREADS):
        threading.Thread(target=look, args=(number,), daemon=True).start()


def _set_fsuid(uid: int) -> None:
    """Of the calling thread. Source: setfsuid(2)."""
    ctypes.CDLL(None).setfsuid(uid)


def _make_in_a_thread(directory: Path) -> None:
    threading.Thread(target=directory.mkdir, daemon=True).start()


@contextlib.contextmanager
def slow_directory(native: Path) -> Iterator[None]:
    """Who wants a name in *native* waits: somebody lists it for ever, and somebody else wants to make a directory."""
    with Child() as maker, held(native):  # in this order: who waits cannot be ended before
        maker.call(_make_in_a_thread, native / "late")
        until(lambda: waiting_threads(maker.pid) == 1, "the mkdir waits")
        yield


def _sees_new_names(directory: Path) -> bool:
    """Names that nobody has asked for before, so that the daemon has to answer."""
    return all((directory / name).stat().st_ino for name in ("cgroup.procs", "cgroup.events", "net.egress_filter"))


@both
@pytest.mark.parametrize(
    ("identity", "namespaces", "uids"),
    [
        (ALICE, HOST, 1),
        (ROOT, Namespaces(user=True), 200),
        (ROOT, Namespaces(pid=True), 200),
        (ROOT, Namespaces(user=True, pid=True), 200),
    ],
    ids=["one user", "users of a user namespace", "users of a PID namespace", "users of both"],
)
def test_many_waits_of_one_user_hold_up_nobody_else(
    overlay: Overlay, twin: Twin, identity: Identity, namespaces: Namespaces, uids: int
) -> None:
    slow = twin.native / "slow"
    others = [twin.native / f"other-{number}" for number in range(3)]
    for directory in (slow, *others):
        directory.mkdir()
    with Child(identity=identity, namespaces=namespaces) as many, slow_directory(slow):
        many.call(_look_many_names_up, overlay.path(slow), uids)
        for directory, who in zip(others, (BOB, ROOT, Identity(1002, 1002)), strict=True):
            assert run(lambda directory=directory: _sees_new_names(overlay.path(directory)), identity=who)  # type: ignore[misc]
        made = overlay.path(others[0] / "made")
        made.mkdir()
        made.rmdir()
    until(lambda: (slow / "late").is_dir(), "the mkdir goes on")


def _make_all_in_threads(directories: list[Path]) -> None:
    """What cannot be made: but the kernel first takes the lock of the directory above."""
    for directory in directories:
        threading.Thread(target=_try_to_make, args=(directory,), daemon=True).start()


def _try_to_make(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.mkdir()


def _unknown_name(native: Path) -> Path:
    """A directory whose name the kernel does not know on the mirror: it has not heard of *native* when it is made."""
    (native / "above" / "name").mkdir(parents=True)
    return native / "above" / "name"


def _exists(path: Path) -> bool:
    return path.exists()


@both
def test_who_has_had_his_share_holds_no_name(overlay: Overlay, twin: Twin) -> None:
    """Two who look the same name up wait together, in the kernel, for the answer to the first."""
    slow, name = twin.native / "slow", _unknown_name(twin.native)
    slow.mkdir()
    with Child(identity=ALICE) as many, Child(identity=ALICE) as one_more, slow_directory(slow):
        many.call(_look_many_names_up, overlay.path(slow), 1)
        until(lambda: waiting_threads(overlay.pid) >= MANY_WAIT, "as many wait as may")
        one_more.begin(_exists, overlay.path(name))
        assert run(lambda: _exists(overlay.path(name)), identity=BOB)


@both
def test_who_makes_his_proc_slow_holds_up_nobody_else(overlay: Overlay, twin: Twin) -> None:
    """Where many wait, the daemon asks who somebody is. His directory in /proc is his own."""
    slow, name = twin.native / "slow", _unknown_name(twin.native)
    slow.mkdir()
    with contextlib.ExitStack() as stack:
        many, maker = (stack.enter_context(Child(identity=identity)) for identity in (ALICE, ROOT))
        callers = [stack.enter_context(Child()) for _ in range(12)]
        stack.enter_context(slow_directory(slow))
        many.call(_look_many_names_up, overlay.path(slow), 1)
        until(lambda: waiting_threads(overlay.pid) >= 20, "many wait")
        directories = [Path(f"/proc/{caller.pid}/ns") for caller in callers]
        stack.enter_context(held(*directories))
        maker.call(_make_all_in_threads, [directory / "new" for directory in directories])
        until(lambda: waiting_threads(maker.pid) == len(callers), "everybody's directory in /proc is slow")
        for caller in callers:
            caller.begin(_exists, overlay.path(name))
        assert run(lambda: _exists(overlay.path(name)) and _sees_new_names(overlay.path(name)), identity=BOB)


# --- descriptors ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def many_cgroups_of(identity: Identity, count: int) -> Iterator[Path]:
    with temporary_cgroup() as top:
        for number in range(count):
            (top / str(number)).mkdir()
            os.chown(top / str(number) / "cgroup.procs", identity.uid, identity.gid)
        yield top


@pytest.fixture
def poor_overlay(start_overlay: StartOverlay) -> Iterator[Overlay]:
    """A daemon that may have few descriptors."""
    with start_overlay("poor", prefix=limited_to(NOFILE)) as overlay:
        yield overlay


def _open_all(top: Path, count: int, name: str, flags: int) -> tuple[list[int], int]:
    """Those that could be opened, and the errno of the first that could not (0: all)."""
    opened = []
    for number in range(count):
        try:
            opened.append(os.open(top / str(number) / name, flags))
        except OSError as error:
            return opened, error.errno or 0
    return opened, 0


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _can_open_all(top: Path, count: int, name: str, flags: int) -> bool:
    opened, error = _open_all(top, count, name, flags)
    _close_all(opened)
    return error == 0


def test_who_opens_many_files_for_writing_is_refused_and_nobody_else(poor_overlay: Overlay) -> None:
    count = SHARE + 20
    with many_cgroups_of(ALICE, count) as top, Child(identity=ALICE) as alice:
        mirror = poor_overlay.path(top)
        opened, error = alice.call(_open_all, mirror, count, "cgroup.procs", os.O_WRONLY)
        assert SHARE // 2 <= len(opened) <= SHARE  # a descriptor for each, and one more for its attributes
        assert error == errno.ENFILE
        for identity in (ROOT, BOB):
            assert run(lambda: _open_all(mirror, count, "cgroup.events", os.O_RDONLY)[1], identity=identity) == 0
        assert run(lambda: _open_all(mirror, count, "cgroup.procs", os.O_WRONLY)[1]) == 0  # root's
        alice.call(_close_all, opened)
        # The kernel tells of a close by and by.
        until(lambda: alice.call(_can_open_all, mirror, SHARE // 2, "cgroup.procs", os.O_WRONLY), "they are given back")


def test_who_opens_many_control_files_with_many_groups_is_refused(poor_overlay: Overlay) -> None:
    """Who has opened one for writing is kept with it, groups and all: memory, which counts as descriptors."""
    groups = 1 << 16
    share = SHARE // (groups * 4 // 4096)
    crowd = Identity(ALICE.uid, ALICE.gid, groups=tuple(range(groups)))
    with many_cgroups_of(ALICE, share + 1) as top, Child(identity=crowd) as many, Child(identity=ALICE) as few:
        mirror = poor_overlay.path(top)
        for number in range(share + 1):
            os.chown(mirror / str(number) / "net.egress_filter", ALICE.uid, ALICE.gid)
        opened, error = many.call(_open_all, mirror, share + 1, "net.egress_filter", os.O_WRONLY)
        assert (len(opened), error) == (share, errno.ENFILE)
        assert few.call(_can_open_all, mirror, share + 1, "net.egress_filter", os.O_WRONLY)
        many.call(_close_all, opened)
        until(lambda: many.call(_can_open_all, mirror, share, "net.egress_filter", os.O_WRONLY), "they are given back")


def test_who_polls_a_control_file_has_a_share(poor_overlay: Overlay) -> None:
    """Those who wait cost memory and time, which count as a descriptor each; beyond the share a change is reported."""
    too_many = 20

    def poll_seen(count: int) -> int:
        """How many of so many that were polled, and read since, report a change."""
        opened, error = _open_all(mirror, count, "net.egress_filter", os.O_RDONLY)
        assert error == 0
        poll = select.poll()
        for fd in opened:
            poll.register(fd, select.POLLPRI)
        assert len(poll.poll(0)) == count
        assert {os.pread(fd, 100, 0) for fd in opened} == {b"none\n"}
        return len(poll.poll(0))

    with many_cgroups_of(ALICE, SHARE + too_many) as top:
        mirror = poor_overlay.path(top)
        assert run(lambda: poll_seen(SHARE + too_many), identity=BOB) == too_many
        until(lambda: run(lambda: poll_seen(SHARE), identity=BOB) == 0, "they are given back")


def test_reading_and_polling_many_files_need_no_share(poor_overlay: Overlay) -> None:
    """Beyond the share a poll reports a change at once: it is never lost, and nobody sleeps."""
    count = NOFILE + 50

    def read_and_poll_all() -> int:
        opened, error = _open_all(mirror, count, "cgroup.events", os.O_RDONLY)
        assert error == 0
        assert all(os.read(fd, 100) for fd in opened)
        poll = select.poll()
        for fd in opened:
            poll.register(fd, select.POLLPRI)
        return len(poll.poll(0))

    with many_cgroups_of(ALICE, count) as top:
        mirror = poor_overlay.path(top)
        assert run(read_and_poll_all, identity=ALICE) == count
        assert run(read_and_poll_all, identity=BOB) == count
        assert run(lambda: _sees_new_names(mirror / "0"), identity=ROOT)
