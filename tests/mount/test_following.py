"""Who asks again and again is served on his own CPU, and others are served meanwhile and afterwards."""

import contextlib
import os
from pathlib import Path

from tests.mount.conftest import Twin
from tests.support.child import Child
from tests.support.daemon import Overlay
from tests.support.hold import held
from tests.support.threads import waiting_threads
from tests.support.waiting import until


def followers(pid: int) -> list[set[int]]:
    """The CPUs of each thread of *pid* that is SCHED_IDLE."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(int(task)) == os.SCHED_IDLE:
                found.append(os.sched_getaffinity(int(task)))
    return found


def read_again_and_again(path: str, end: str) -> None:
    """In a child: until there is a file *end*."""
    while not os.path.exists(end):
        for _ in range(1000):
            Path(path).read_bytes()


def read_and_make(path: str, directory: str) -> None:
    """In a child."""
    for _ in range(10000):
        Path(path).read_bytes()
    os.mkdir(directory)


def test_a_reader_follows_him_for_as_long_as_he_asks(overlay: Overlay, twin: Twin, tmp_path: Path) -> None:
    usual = os.sched_getaffinity(overlay.pid)
    with Child() as child:
        child.begin(read_again_and_again, str(twin.mirror / "cgroup.events"), str(tmp_path / "end"))
        until(lambda: [len(cpus) for cpus in followers(overlay.pid)] == [1], "one reader follows, on one CPU")
        for _ in range(100):
            assert (twin.mirror / "cgroup.procs").read_text() == ""
        assert not child.finished()
        (tmp_path / "end").touch()
        child.result()
    until(lambda: not followers(overlay.pid), "nobody is followed any more")
    for task in os.listdir(f"/proc/{overlay.pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            assert os.sched_getaffinity(int(task)) == usual


def test_others_are_served_while_he_waits(overlay: Overlay, twin: Twin) -> None:
    (twin.native / "slow").mkdir()
    with Child() as child:
        with held(twin.native / "slow"):
            child.begin(read_and_make, str(twin.mirror / "cgroup.events"), str(twin.mirror / "slow" / "new"))
            until(lambda: waiting_threads(overlay.pid) == 1, "he waits")
            assert (twin.mirror / "cgroup.procs").read_text() == ""
            assert not child.finished()
        child.result()
    assert (twin.native / "slow" / "new").is_dir()
