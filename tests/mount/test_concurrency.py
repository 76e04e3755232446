"""Requests do not wait for each other; signals and locks are as on cgroup2; a thousand threads are served."""

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.cgroups import temporary_cgroup
from tests.support.child import Child, join_cgroup
from tests.support.daemon import Overlay
from tests.support.hold import held
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.threads import waiting_threads
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])

SLOW = 100


@contextlib.contextmanager
def slow_mkdirs(overlay: Overlay, cgroup: Path, count: int) -> Iterator[list[Path]]:
    """*count* requests that the daemon has begun and cannot finish before the end of the block."""
    directories = [cgroup / f"slow-{number}" for number in range(count)]
    for directory in directories:
        directory.mkdir(exist_ok=True)
    with Child() as child:
        with held(*directories):
            child.begin(mkdir_in_threads, [str(overlay.path(directory) / "new") for directory in directories])
            until(lambda: waiting_threads(overlay.pid) >= count, f"{count} threads of the daemon wait for a mkdir")
            yield directories
            assert not child.finished()
        assert child.result() == [None] * count
    for directory in directories:
        assert (directory / "new").is_dir()


def mkdir_in_threads(paths: list[str]) -> list[str | None]:
    """In a child: a mkdir of each path, all at once; what each gave."""
    results: list[str | None] = ["never ended"] * len(paths)

    def make(number: int) -> None:
        try:
            os.mkdir(paths[number])
            results[number] = None
        except OSError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_slow_requests_delay_no_other(overlay: Overlay, twin: Twin) -> None:
    (twin.native / "other").mkdir()
    other = twin.mirror / "other"
    with slow_mkdirs(overlay, twin.native, SLOW), Child() as child:
        assert (other / "cgroup.procs").read_text() == ""
        (other / "cgroup.max.depth").write_text("5")
        (other / "cgroup.procs").write_text(str(child.pid))
        (other / "made").mkdir()
        (other / "made").rmdir()
        os.setxattr(other, "user.note", b"1")
        assert "cgroup.procs" in os.listdir(other)
        for hook, name in CONTROL_FILE.items():
            assert (other / name).read_text() == "none\n"
            with control.filtered(other, hook, programs.ALLOW) as shown:
                assert (other / name).read_text() == shown
        (twin.native / "other" / "cgroup.kill").write_text("1")


def test_a_slow_request_does_not_delay_those_on_open_files_of_its_directory(overlay: Overlay, twin: Twin) -> None:
    """To find a name that it does not know, the kernel needs the directory's lock, here and on cgroup2."""
    (twin.mirror / "slow-0").mkdir()
    names = ("cgroup.events", "cgroup.max.depth", "net.egress_filter")
    files = [(twin.mirror / "slow-0" / name).open("r+b", buffering=0) for name in names]
    with slow_mkdirs(overlay, twin.native, 1):
        events, depth, control_file = (file.fileno() for file in files)
        assert os.pread(events, 100, 0) == b"populated 0\nfrozen 0\n"
        assert (os.pwrite(depth, b"5", 0), os.pread(depth, 100, 0)) == (1, b"5\n")
        assert (os.pwrite(control_file, b"none", 0), os.pread(control_file, 100, 0)) == (4, b"none\n")
    for file in files:
        file.close()


def test_the_daemon_has_no_more_threads_after_slow_requests_than_before(overlay: Overlay, twin: Twin) -> None:
    def threads() -> int:
        return len(os.listdir(f"/proc/{overlay.pid}/task"))

    with slow_mkdirs(overlay, twin.native, 20):
        pass
    settled = threads()
    for number in range(3):
        again = twin.native / f"again-{number}"
        again.mkdir()
        with slow_mkdirs(overlay, again, 20):
            pass
    until(lambda: threads() <= settled, "the threads that slow requests needed have ended")


def mkdir_with_signals(path: str) -> tuple[int, bool]:
    """In a child: mkdir while signals with a handler come in; how many came, and whether it was made."""
    count = 0

    def handler(number: int, frame: object) -> None:
        nonlocal count
        count += 1

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        os.mkdir(path)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    return count, os.path.isdir(path)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for that signal. Source: proc_pid_status(5), SigCgt."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("view", ["native", "mirror"])
def test_a_signal_interrupts_a_mkdir_on_neither(overlay: Overlay, twin: Twin, view: str) -> None:
    """The kernel waits for a directory's lock without heeding signals; so the mirror must not give up half-way."""
    slow = twin.native / "slow"
    slow.mkdir()
    path = slow / "new" if view == "native" else overlay.path(slow) / "new"
    with Child() as child:
        with held(slow):
            child.begin(mkdir_with_signals, str(path))
            waiter = child.pid if view == "native" else overlay.pid
            until(lambda: catches(child.pid, signal.SIGUSR1), "the child has its handler")
            until(lambda: waiting_threads(waiter) >= 1, "the mkdir waits for the directory's lock")
            for _ in range(10):
                os.kill(child.pid, signal.SIGUSR1)
            assert not child.finished()
        count, made = child.result()
    assert (count >= 1, made) == (True, True)


def lock_with_signal(path: str, how: str) -> str:
    """In a child: wait for a lock that is held, until SIGUSR1 comes."""

    def handler(number: int, frame: object) -> None:
        raise InterruptedError

    signal.signal(signal.SIGUSR1, handler)
    with open(path, "r+b", buffering=0) as file:
        try:
            (fcntl.flock if how == "flock" else fcntl.lockf)(file, fcntl.LOCK_EX)
        except InterruptedError:
            return "interrupted"
    return "locked"


@pytest.mark.parametrize("how", ["flock", "fcntl"])
@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.max.depth", "net.egress_filter"])
def test_a_signal_interrupts_the_wait_for_a_lock(twin: Twin, how: str, name: str) -> None:
    path = twin.mirror / name
    with path.open("r+b", buffering=0) as file, Child() as child:
        (fcntl.flock if how == "flock" else fcntl.lockf)(file, fcntl.LOCK_EX)
        child.begin(lock_with_signal, str(path), how)
        until(lambda: waits_for_lock(child.pid), "the child waits for the lock")
        os.kill(child.pid, signal.SIGUSR1)
        assert child.result() == "interrupted"


def waits_for_lock(pid: int) -> bool:
    """Whether /proc/locks has *pid* as one that waits (`->`)."""
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("how", ["flock", "fcntl"])
@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.events", "net.egress_filter"])
def test_locks_exclude_other_processes_and_go_with_them(twin: Twin, how: str, name: str) -> None:
    path = str(twin.mirror / name)
    with Child() as child:
        child.call(take_lock, path, how)
        assert not could_lock(path, how)
    assert could_lock(path, how)


_kept: list[int] = []


def take_lock(path: str, how: str) -> None:
    """In a child: take an exclusive lock and keep it."""
    _kept.append(os.open(path, os.O_RDWR))
    (fcntl.flock if how == "flock" else fcntl.lockf)(_kept[-1], fcntl.LOCK_EX)


def could_lock(path: str, how: str) -> bool:
    with open(path, "r+b", buffering=0) as file:
        try:
            (fcntl.flock if how == "flock" else fcntl.lockf)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def work(mirror: str, number: int, rounds: int) -> None:
    """One thread's share: its own cgroup made, used and removed, and what all share read."""
    own = Path(mirror, f"thread-{number}")
    for _ in range(rounds):
        own.mkdir()
        (own / "cgroup.max.depth").write_text(str(number))
        assert (own / "cgroup.max.depth").read_text() == f"{number}\n"
        assert (own / "net.egress_filter").read_text() == "none\n"
        assert "populated" in Path(mirror, "cgroup.events").read_text()
        own.rmdir()


def work_in_threads(mirror: str, threads: int, rounds: int) -> list[str]:
    """In a child: *threads* threads at once; what went wrong."""
    threading.stack_size(256 * 1024)
    wrong: list[str] = []
    begin = threading.Barrier(threads)

    def body(number: int) -> None:
        try:
            begin.wait()
            work(mirror, number, rounds)
        except BaseException as error:
            wrong.append(repr(error))

    bodies = [threading.Thread(target=body, args=(number,)) for number in range(threads)]
    for thread in bodies:
        thread.start()
    for thread in bodies:
        thread.join()
    return wrong


def test_a_thousand_threads_are_served(overlay: Overlay, twin: Twin) -> None:
    with Child() as child:
        assert child.call(work_in_threads, str(twin.mirror), 1000, 2) == []
    assert [name for name in os.listdir(twin.native) if name.startswith("thread")] == []


def test_the_daemon_serves_from_a_cgroup_that_it_shows(start_overlay: StartOverlay, overlay: Overlay) -> None:
    """Also when a sibling of its cgroup is frozen, which it freezes through itself."""
    with temporary_cgroup() as top:
        for name in ("daemon", "frozen"):
            (top / name).mkdir()
        with start_overlay("nested", options=overlay.options) as own, Child(top / "frozen"):
            (own.path(top) / "daemon" / "cgroup.procs").write_text(str(own.pid))
            (own.path(top) / "frozen" / "cgroup.freeze").write_text("1")
            until(lambda: "frozen 1" in (own.path(top) / "frozen" / "cgroup.events").read_text(), "it is frozen")
            assert (own.path(top) / "daemon" / "cgroup.procs").read_text().split() == [str(own.pid)]
            with control.filtered(own.path(top) / "daemon", Hook.EGRESS, programs.ALLOW) as shown:
                assert (own.path(top) / "daemon" / CONTROL_FILE[Hook.EGRESS]).read_text() == shown
            join = own.path(top) / "daemon"
            with Child() as child:
                child.call(join_cgroup, join)
                assert str(child.pid) in (join / "cgroup.procs").read_text().split()
            (own.path(top) / "frozen" / "cgroup.freeze").write_text("0")


def write_again_and_again(path: Path, text: str) -> None:
    for _ in range(200):
        path.write_text(text)


def test_two_daemons_change_one_file_one_after_the_other(twin: Twin, start_overlay: StartOverlay) -> None:
    name = CONTROL_FILE[Hook.SOCKET_CREATE]
    with start_overlay("second") as second, Child() as one, Child() as other:
        one.begin(write_again_and_again, twin.mirror / name, "families:inet")
        other.begin(write_again_and_again, second.path(twin.native) / name, "families:inet6")
        one.result()
        other.result()
        assert (twin.mirror / name).read_text() in ("families:inet\n", "families:inet6\n")
        assert len(attached_ids(twin.native, Hook.SOCKET_CREATE)) == 1
