"""Runs the rows: interleaved over the mounts, repeated, with medians of the ratios.

A ratio is that of a pair: the row on cgroup2 itself and the row on the mount, measured one next to the other, in turn
the one first and the other. The median is taken over the pairs: a machine that is slow for a second is slow for both.
Which mount is the first in a round changes from round to round.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.bench import stopping
from tests.bench.clocks import process_cpu_ns, wait_until_quiet
from tests.bench.peers import FLOOR, NATIVE, Mounted
from tests.bench.rows import Row
from tests.bench.tree import drop_caches

HERE = Path(__file__).parent

_WARMING_SHARE = 100
_LONGEST_S = 120.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: of a row on a mount *rounds* rounds, but no more once they have taken *budget_s*.

    A measurement does the operation for *slice_s*, and at least once. Where that takes a peer more than *longest_s*, it
    is left out of the row.
    """

    rounds: int
    slice_s: float
    budget_s: float
    fewest_rounds: int
    longest_s: float


FULL = Effort(rounds=9, slice_s=0.1, budget_s=6, fewest_rounds=3, longest_s=60)
QUICK = Effort(rounds=3, slice_s=0.02, budget_s=1, fewest_rounds=1, longest_s=4)


@dataclass(frozen=True, slots=True)
class Sample:
    """Nanoseconds for one operation: of wall time, of the caller's CPU time and of the server's."""

    wall: float
    caller: float
    server: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one row gave on one mount: medians, each for one operation."""

    row: Row
    mount: str
    rounds: int
    microseconds: float
    ratio: float
    caller_us: float
    server_us: float | None

    @property
    def shown(self) -> float:
        """The ratio of the times; for a throughput row the share of cgroup2's throughput."""
        return 1 / self.ratio if self.row.is_throughput else self.ratio

    @property
    def reached(self) -> bool | None:
        """Whether the figure meant for the row is reached; None where the row has none."""
        if self.row.at_least is not None:
            return self.shown >= self.row.at_least
        return None if self.row.at_most is None else self.shown <= self.row.at_most

    @property
    def waiting_us(self) -> float:
        """Waking up and waiting: what is nobody's CPU time. Less than 0 where caller and server ran at once."""
        return self.microseconds - self.caller_us - (self.server_us or 0)


@dataclass(slots=True)
class Run:
    """One row on one mount: what has been measured so far."""

    mount: Mounted
    count: int
    taken_s: float
    base: list[Sample] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def goes_on(self, effort: Effort) -> bool:
        rounds = len(self.samples)
        if rounds < effort.fewest_rounds:
            return True
        return rounds < effort.rounds and self.taken_s * (rounds + 1) / rounds <= effort.budget_s


class Bench:
    """The program and the mounts, the first of which is cgroup2 itself, on which rows are measured."""

    def __init__(self, timing: Path, mounts: Sequence[Mounted], effort: Effort) -> None:
        self._timing = timing
        self._direct, *self._others = mounts
        self._effort = effort
        self._servers = [mount.pid for mount in mounts if mount.pid is not None]
        self.left_out: list[str] = []
        """What was not measured, in words."""

    def measure(self, rows: Sequence[Row], progress: Callable[[Row], None]) -> list[Result]:
        """Measure all *rows*, telling *progress* of each before it begins."""
        results: list[Result] = []
        for row in rows:
            progress(row)
            results += self._measure_row(row)
        return results

    def _measure_row(self, row: Row) -> list[Result]:
        base_count, _ = self._warm(row, self._direct)
        mounts = [mount for mount in self._others if _does(mount, row)]
        runs = [run for mount in mounts if (run := self._begin(row, mount)) is not None]
        for number in range(self._effort.rounds):
            turn = number % len(runs)
            for each in [*runs[turn:], *runs[:turn]]:
                if each.goes_on(self._effort) and not self._measure_pair(row, each, base_count, number % 2 == 0):
                    runs.remove(each)
        return results_of(row, runs)

    def _begin(self, row: Row, mount: Mounted) -> Run | None:
        """A run of *row*, warmed; None where a peer cannot do it, or takes too long to."""
        warmed = self._unless_peer_fails(row, mount, lambda: self._warm(row, mount))
        if warmed is None:
            return None
        count, warming_s = warmed
        return Run(mount, count, warming_s)

    def _unless_peer_fails(self, row: Row, mount: Mounted, measured: Callable[[], T]) -> T | None:
        """What *measured* returns. A peer that cannot do *row* is left out of it; cgfs has to do every row."""
        try:
            return measured()
        except stopping.Failed as error:
            if mount.name == "cgfs":
                raise
            self.left_out.append(f"{mount.name}, {row.name}: {error}")
            return None

    def _warm(self, row: Row, mount: Mounted) -> tuple[int, float]:
        """How many operations make a measurement, found by doing more and more, and the seconds that this took.

        What asks again and again is served faster after a while: so a few alone do not tell how many fill the slice.
        """
        if row.cold:
            return row.count, 0.0
        begin = time.monotonic()
        tried = 0
        count = max(1, row.count // _WARMING_SHARE)
        while count > 2 * tried:
            tried = count
            operation_s = self._sample(row, mount, tried).wall * row.threads / 1e9
            count = max(1, min(row.count, int(self._effort.slice_s / operation_s)))
        return count, time.monotonic() - begin

    def _measure_pair(self, row: Row, run: Run, base_count: int, base_first: bool) -> bool:
        """Measure *row* once more, beside cgroup2 itself. False where a peer could not do it."""
        begin = time.monotonic()
        before = self._sample(row, self._direct, base_count) if base_first else None
        sample = self._unless_peer_fails(row, run.mount, lambda: self._sample(row, run.mount, run.count))
        if sample is None:
            return False
        run.samples.append(sample)
        run.base.append(before or self._sample(row, self._direct, base_count))
        run.taken_s += time.monotonic() - begin
        return True

    def _sample(self, row: Row, mount: Mounted, count: int) -> Sample:
        base = mount is self._direct
        operation = row.base_operation if base and row.base_operation else row.operation
        path = row.base_path if base and row.base_path else row.path
        if row.cold:
            drop_caches()
        wait_until_quiet(self._servers, row.quiet_s)
        command: list[str | Path] = [self._timing, str(row.threads), operation, str(count), mount.root, path]
        if row.argument is not None:
            command.append(row.argument)
        timeout_s = _LONGEST_S if mount.name in ("cgroup2", "cgfs") else self._effort.longest_s
        before_ns = 0 if mount.pid is None else process_cpu_ns(mount.pid)
        wall_ns, caller_ns = map(int, stopping.run(command, timeout_s, cpu=mount.cpu).split())
        server_ns = 0 if mount.pid is None else process_cpu_ns(mount.pid) - before_ns
        operations = count * row.threads
        return Sample(wall_ns / operations, caller_ns / operations, server_ns / operations)


def _does(mount: Mounted, row: Row) -> bool:
    return mount.name == "cgfs" or (not row.cgfs_only and (mount.name != FLOOR or row.has_floor))


def results_of(row: Row, runs: Sequence[Run]) -> list[Result]:
    base = [sample for run in runs for sample in run.base]
    results = [
        Result(
            row,
            "cgroup2",
            len(base),
            statistics.median(sample.wall for sample in base) / 1e3,
            1.0,
            statistics.median(sample.caller for sample in base) / 1e3,
            None,
        )
    ]
    for each in runs:
        ratios = [ours.wall / base.wall for ours, base in zip(each.samples, each.base, strict=True)]
        results.append(
            Result(
                row,
                each.mount.name,
                len(each.samples),
                statistics.median(sample.wall for sample in each.samples) / 1e3,
                statistics.median(ratios),
                statistics.median(sample.caller for sample in each.samples) / 1e3,
                statistics.median(sample.server for sample in each.samples) / 1e3,
            )
        )
    return results


def build_timing(scratch: Path) -> Path:
    program = scratch / "timing"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", f"-I{NATIVE / 'include'}", "-pthread"]
    stopping.run(["cc", *flags, "-o", program, HERE / "timing.c"])
    return program
