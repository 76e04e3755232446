"""The benchmark when it is told to end: it takes everything with it that it has made."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cgfs.mountinfo import mounts
from tests.support.cgroups import remove_cgroup
from tests.support.places import public_directory
from tests.support.waiting import DEADLINE_S, until
from tests.support.watchdog import abort_mount

ROOT = Path(__file__).parent.parent.parent


def mounted_below(directory: Path) -> list[Path]:
    return [mount.mountpoint for mount in mounts() if mount.mountpoint.is_relative_to(directory)]


def processes_that_name(directory: Path) -> list[str]:
    """The command lines in which *directory* is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) in command:
            found.append(f"{entry.name}: {command.decode(errors='replace')}")
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_bench_ended_by_a_signal_leaves_nothing(cgroup2: Path, number: signal.Signals) -> None:
    directory = public_directory()
    bench = subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--quick", "--no-peers"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    tree = cgroup2 / f"cgfs-bench-{bench.pid}"
    try:
        until(lambda: mounted_below(directory) or bench.poll() is not None, "the bench has mounted something")
        assert tree.is_dir()
        assert processes_that_name(directory)

        bench.send_signal(number)
        _, said = bench.communicate(timeout=DEADLINE_S)

        assert bench.returncode == 128 + number, said
        assert said == f"bench: ended by {number.name}; what it had made is removed\n"
        assert mounted_below(directory) == []
        assert processes_that_name(directory) == []
        assert not tree.exists()
        assert list(directory.iterdir()) == []
    finally:
        bench.kill()
        bench.wait(DEADLINE_S)
        for mountpoint in mounted_below(directory):
            abort_mount(mountpoint)
        remove_cgroup(tree)
