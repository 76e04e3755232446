"""Runs the rows: interleaved over the mounts, repeated, with medians of the ratios.

A ratio is taken within one round, where the two times were measured next to each other, and the median is taken
over the rounds: a machine that is slow for a second is slow for both.
"""

import os
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers import Mounted, cpu_seconds
from tests.bench.rows import Row
from tests.bench.tree import drop_caches

HERE = Path(__file__).parent
INCLUDE = HERE.parent.parent / "native" / "include"


@dataclass(frozen=True, slots=True)
class Result:
    """What one row gave on one mount: the median time and ratio to cgroup2, and the server's CPU per operation."""

    row: Row
    mount: str
    microseconds: float
    ratio: float
    server_cpu_us: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the figure meant for the row is reached; None where the row has none or the mount is a peer."""
        if self.mount != "cgfs":
            return None
        if self.row.at_least is not None:
            return 1 / self.ratio >= self.row.at_least
        return None if self.row.at_most is None else self.ratio <= self.row.at_most


def build_timing(scratch: Path) -> Path:
    program = scratch / "timing"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", f"-I{INCLUDE}", "-pthread", "-o", str(program)]
    subprocess.run([*command, str(HERE / "timing.c")], check=True)
    return program


def time_once(timing: Path, row: Row, root: Path, *, base: bool, share: float) -> float:
    """Nanoseconds for one operation of *row* below *root*; *share* of the row's count is done."""
    operation = row.base_operation if base and row.base_operation else row.operation
    path = row.base_path if base and row.base_path is not None else row.path
    count = max(1, int(row.count * share))
    arguments = [str(timing), operation, str(count), str(root / path)]
    if row.argument is not None:
        arguments.append(row.argument)
    if row.cold:
        drop_caches()
    environment = {**os.environ, "TIMING_THREADS": str(row.threads)}
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout) / (count * row.threads)


def measure_row(timing: Path, row: Row, mounts: Sequence[Mounted], rounds: int, share: float) -> list[Result]:
    """Measure *row* on all *mounts*, the first of which is cgroup2 itself."""
    direct, *others = [mount for mount in mounts if not (row.cgfs_only and mount.name not in ("cgroup2", "cgfs"))]
    times: dict[str, list[float]] = {mount.name: [] for mount in (direct, *others)}
    ratios: dict[str, list[float]] = {mount.name: [] for mount in (direct, *others)}
    cpu: dict[str, list[float]] = {mount.name: [] for mount in others}
    if not row.cold:
        for mount in (direct, *others):
            time_once(timing, row, mount.root, base=mount is direct, share=share / 10)
    for _ in range(rounds):
        base_ns = time_once(timing, row, direct.root, base=True, share=share)
        times[direct.name].append(base_ns)
        ratios[direct.name].append(1.0)
        for mount in others:
            assert mount.pid is not None
            before = cpu_seconds(mount.pid)
            taken_ns = time_once(timing, row, mount.root, base=False, share=share)
            operations = max(1, int(row.count * share)) * row.threads
            cpu[mount.name].append((cpu_seconds(mount.pid) - before) / operations)
            times[mount.name].append(taken_ns)
            ratios[mount.name].append(taken_ns / base_ns)
    return [
        Result(
            row,
            mount.name,
            statistics.median(times[mount.name]) / 1e3,
            statistics.median(ratios[mount.name]),
            statistics.mean(cpu[mount.name]) * 1e6 if mount.name in cpu else None,
        )
        for mount in (direct, *others)
    ]


def measure(
    timing: Path,
    rows: Sequence[Row],
    mounts: Sequence[Mounted],
    *,
    rounds: int,
    share: float,
    progress: Callable[[Row], None],
) -> list[Result]:
    """Measure all *rows*, telling *progress* of each before it begins."""
    results: list[Result] = []
    for row in rows:
        progress(row)
        results += measure_row(timing, row, mounts, rounds, share)
    return results
