"""Nothing grows with the tree: a walk over ten thousand cgroups costs the daemon no descriptor and no memory."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cgroups import temporary_cgroup
from tests.support.child import run
from tests.support.daemon import Overlay, limited_to
from tests.support.places import public_directory
from tests.support.watchdog import Watchdog

OUTER, INNER = 100, 99
COUNT = OUTER * (1 + INNER)
NOFILE = 1024  # the daemon's
KEPT = NOFILE // 16  # for who opens again what was open before

# Less than 100 bytes for each inode (each cgroup has more than 20), and room for a few thread stacks.
GROWTH_KIB = 16 * 1024


@pytest.fixture(scope="module")
def overlay(watchdog: Watchdog) -> Iterator[Overlay]:
    with Overlay.started(public_directory() / "mirror", watchdog, prefix=limited_to(NOFILE)) as started:
        yield started


@pytest.fixture(scope="module")
def large_tree(overlay: Overlay) -> Iterator[Path]:
    """10,000 cgroups, on the mirror."""
    with temporary_cgroup() as top:
        for outer in range(OUTER):
            (top / f"{outer}").mkdir()
            for inner in range(INNER):
                (top / f"{outer}" / f"{inner}").mkdir()
        yield overlay.path(top)


def memory_kib(pid: int) -> int:
    """What the process has for itself: its anonymous memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError(pid)


def walk(top: Path) -> tuple[int, int]:
    """Look at every file in the tree with a limit of 1024 descriptors; (directories, files).

    At the control files of every tenth cgroup only: they cost most, and there are enough of them.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE, NOFILE))
    directories = files = 0
    for path, _, names in os.walk(top):
        directories += 1
        for name in names:
            if directories % 10 == 0 or not name.endswith("_filter"):
                os.stat(os.path.join(path, name))
                files += 1
    return directories, files


def test_a_walk_costs_no_descriptor_and_no_memory(overlay: Overlay, large_tree: Path) -> None:
    before = memory_kib(overlay.pid)
    directories, files = run(lambda: walk(large_tree))
    assert directories == COUNT + 1
    assert files > 15 * COUNT
    assert not overlay.more_descriptors(overlay.descriptors)
    assert memory_kib(overlay.pid) - before < GROWTH_KIB


def test_reading_every_file_of_one_kind_costs_few_descriptors_and_no_memory(overlay: Overlay, large_tree: Path) -> None:
    before = memory_kib(overlay.pid)
    command = ["grep", "-rh", "--include=cgroup.procs", "--include=net.egress_filter", "", str(large_tree)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=90)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"none\n" * (COUNT + 1)
    assert overlay.more_descriptors(overlay.descriptors).total() <= KEPT
    assert memory_kib(overlay.pid) - before < GROWTH_KIB


def test_more_files_are_open_than_the_daemon_has_descriptors(overlay: Overlay, large_tree: Path) -> None:
    """What is open for plain reading is the kernel's affair; a control file costs the daemon nothing either."""

    def hold_many_open() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4 * NOFILE + 100, 4 * NOFILE + 100))
        opened = [
            os.open(large_tree / str(outer) / str(inner) / name, os.O_RDONLY)
            for outer in range(40)
            for inner in range(50)
            for name in ("cgroup.events", "net.egress_filter")
        ]
        return sum(len(os.read(fd, 100)) > 0 for fd in opened)

    assert run(hold_many_open) == 4000
