"""What the daemon holds after a walk, and how long it takes to answer for the first time."""

import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cgfs.mountinfo import mount_at
from tests.bench.peers import cgfs, served
from tests.bench.rows import CHILDREN, MANY_CHILDREN, MEMORY_AT_MOST_MB, SAME_MEMORY_WITHIN
from tests.bench.stopping import run
from tests.bench.tree import tree
from tests.support.command import daemons_of
from tests.support.waiting import until
from tests.support.watchdog import abort_mount

FIRST_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Footprint:
    """The daemon's memory (resident set size) and open descriptors after a walk over *cgroups* cgroups."""

    cgroups: int
    memory_mb: float
    descriptors: int


def footprint(timing: Path, source: Path, scratch: Path, cgroups: int) -> Footprint:
    """Walk a tree of *cgroups* cgroups with stat, through a fresh daemon (proc(5), smaps_rollup)."""
    scratch.mkdir()
    with tree(source, cgroups) as root, served(cgfs(source, scratch), root.relative_to(source)) as mount:
        run([timing, "1", "walk", "1", mount.root, "."])
        rollup = Path(f"/proc/{mount.pid}/smaps_rollup").read_text().splitlines()
        memory_kib = next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))
        return Footprint(cgroups, memory_kib * 1024 / 1e6, len(list(Path(f"/proc/{mount.pid}/fd").iterdir())))


def missed(footprints: Sequence[Footprint]) -> list[str]:
    """What of *footprints* is not as it should be, in words."""
    by_cgroups = {each.cgroups: each.memory_mb for each in footprints}
    wrong = []
    if max(by_cgroups.values()) >= MEMORY_AT_MOST_MB:
        wrong.append(f"more than {MEMORY_AT_MOST_MB:.0f} MB")
    few, many = by_cgroups[CHILDREN], by_cgroups.get(MANY_CHILDREN)
    if many is not None and many > few * (1 + SAME_MEMORY_WITHIN):
        wrong.append(f"more after {MANY_CHILDREN:,} cgroups than after {CHILDREN:,}")
    return wrong


def first_answer_s(source: Path, mountpoint: Path) -> float:
    """Seconds from the start of `cgfs mount` to the first file read on the mirror; the median of some starts."""
    mountpoint.mkdir()
    return statistics.median(_first_answer_s(source, mountpoint) for _ in range(FIRST_ANSWERS))


def _first_answer_s(source: Path, mountpoint: Path) -> float:
    begin = time.monotonic()
    try:
        run([sys.executable, "-m", "cgfs", "mount", source, mountpoint])
        (mountpoint / "cgroup.procs").read_bytes()
        return time.monotonic() - begin
    finally:
        _end_daemons(mountpoint)


def _end_daemons(mountpoint: Path) -> None:
    """End every process that was started for *mountpoint*, which is ours alone, and the mount."""
    asked: set[int] = set()

    def ended() -> bool:
        pids = daemons_of(mountpoint)
        for pid in set(pids) - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        asked.update(pids)
        return not pids

    until(ended, f"the daemon of {mountpoint} has ended")
    if mount_at(mountpoint) is not None:
        abort_mount(mountpoint)
