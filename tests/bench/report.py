"""The results as a table on the terminal, as the README's table and as JSON. `plot` draws them."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Effort, Result
from tests.bench.memory import Footprint, missed
from tests.bench.peers import FLOOR
from tests.bench.rows import CHILDREN, SPLIT_ROW, Row

_WIDTH = 150
"""Of the table where it does not go to a terminal."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run of the benchmark has found. *left_out* says in words what it has not measured."""

    effort: Effort
    load: float
    results: Sequence[Result]
    left_out: Sequence[str]
    footprints: Sequence[Footprint]
    first_answer_s: float

    @property
    def mounts(self) -> list[str]:
        return list(dict.fromkeys(result.mount for result in self.results))

    def by_row(self) -> Iterator[tuple[Row, dict[str, Result]]]:
        for row in dict.fromkeys(result.row for result in self.results):
            yield row, {result.mount: result for result in self.results if result.row == row}


def machine() -> str:
    """The machine in a line: processor, number of CPUs, kernel."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def slower_than(of_row: dict[str, Result]) -> list[str]:
    """The peers that are faster than cgfs in this row."""
    ours = of_row["cgfs"].ratio
    others = [result for name, result in of_row.items() if name not in ("cgroup2", "cgfs", FLOOR)]
    return [result.mount for result in others if result.ratio < ours]


def figure(result: Result | None) -> str:
    if result is None:
        return ""
    return f"{result.shown:.0%}" if result.row.is_throughput else f"{result.shown:.2f}"


def wanted(row: Row) -> str:
    if row.at_least is not None:
        return f"≥ {row.at_least:.0%}"
    return "" if row.at_most is None else f"≤ {row.at_most:g}"


def _missed(of_row: dict[str, Result]) -> str:
    """Whether that is the kernel's doing: who answers without looking at anything misses the figure, too."""
    return "missed, as by the floor" if FLOOR in of_row and of_row[FLOOR].reached is False else "missed"


def verdict(of_row: dict[str, Result]) -> str:
    words = [_missed(of_row)] if of_row["cgfs"].reached is False else []
    return ", ".join([*words, *(f"slower than {name}" for name in slower_than(of_row))])


def headings(report: Report) -> list[str]:
    return ["operation", "cgroup2 µs", *report.mounts[1:], "wanted", "verdict", "cgfs CPU µs"]


def cells(report: Report) -> Iterator[list[str]]:
    """The table, a row at a time, as `headings` has the columns."""
    for row, of_row in report.by_row():
        yield [
            row.name,
            f"{of_row['cgroup2'].microseconds:.1f}",
            *(figure(of_row.get(name)) for name in report.mounts[1:]),
            wanted(row),
            verdict(of_row),
            f"{of_row['cgfs'].server_us:.1f}",
        ]


SPLIT_HEADINGS = ["µs", "in all", "caller's CPU", "server's CPU", "waiting"]


def split_cells(report: Report) -> Iterator[list[str]]:
    for row, of_row in report.by_row():
        if row.name == SPLIT_ROW:
            for name, result in of_row.items():
                server = "" if result.server_us is None else f"{result.server_us:.1f}"
                numbers = (result.microseconds, result.caller_us, result.waiting_us)
                whole, caller, waiting = (f"{number:.1f}" for number in numbers)
                yield [name, whole, caller, server, waiting]


def fewer_rounds(report: Report) -> str:
    fewer = [
        f"{result.mount}, {result.row.name} ({result.rounds})"
        for result in report.results
        if result.mount != "cgroup2" and result.rounds < report.effort.rounds
    ]
    return f"; fewer where a round takes long: {'; '.join(fewer)}" if fewer else ""


def notes(report: Report) -> Iterator[str]:
    """How to read the table."""
    yield (
        "Ratios of times to the same on cgroup2 itself: less is better. A figure with % is the share of cgroup2's "
        "throughput: more is better. A control file's read is beside a read of cgroup.events."
    )
    yield (
        f"The tree has {CHILDREN:,} cgroups. readdir, ls -l and a walk are whole passes; a directory of cgfs has three "
        "files more. Cold: after the dentries and inodes of cgroup2 and of every mirror were dropped."
    )
    if FLOOR in report.mounts:
        yield (
            "The floor is a FUSE server that knows all answers before, looks at nothing and refuses nobody, bound to "
            "one CPU with its caller (tests/bench/floor.c): what it takes is the kernel's FUSE. What cgfs takes more "
            "is its own, and what it does on cgroup2 for a cold stat or a move. The floor has one thread, and can "
            "make nothing."
        )
    yield f"Medians of {report.effort.rounds} rounds{fewer_rounds(report)}."
    if report.left_out:
        yield f"Left out: {'; '.join(report.left_out)}."


SPLIT_NOTE = (
    f"Where the time of one {SPLIT_ROW} goes: the caller's thread and the server's process, each on the CPU, in the "
    "kernel and outside; what remains is waking up and waiting (less than 0: the two ran at once)."
)


def footprint_lines(report: Report) -> Iterator[str]:
    for each in report.footprints:
        yield f"after a walk over {each.cgroups:,} cgroups: {each.memory_mb:.1f} MB, {each.descriptors} descriptors"
    yield from (f"missed: {each}" for each in missed(report.footprints))
    yield f"from `cgfs mount` to the first answer: {report.first_answer_s * 1000:.0f} ms"


def show(report: Report, console: Console) -> None:
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(title=f"ratios to cgroup2 itself; {machine()}")
    for index, heading in enumerate(headings(report)):
        table.add_column(heading, justify="right" if index else "left", no_wrap=index == 0)
    for row in cells(report):
        verdict_ = row[-2]
        table.add_row(*row, style="red" if "missed" in verdict_ else "yellow" if verdict_ else "")
    console.print(table)
    for note in notes(report):
        console.print(note, highlight=False)
    split = Table(title=SPLIT_NOTE)
    for index, heading in enumerate(SPLIT_HEADINGS):
        split.add_column(heading, justify="right" if index else "left")
    for row in split_cells(report):
        split.add_row(*row)
    console.print(split)
    for line in footprint_lines(report):
        console.print(line, highlight=False)


def _markdown_table(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    def line(row: Sequence[str]) -> str:
        return f"| {' | '.join(row)} |"

    yield line(head)
    yield line(["---", *["---:"] * (len(head) - 1)])
    yield from map(line, rows)


def as_markdown(report: Report) -> str:
    """What the README shows of a run."""
    bold = (
        [f"**{cell}**" if cell and index == len(row) - 2 else cell for index, cell in enumerate(row)]
        for row in cells(report)
    )
    lines = [
        *_markdown_table(headings(report), bold),
        "",
        f"{machine()}; load average before the run {report.load:.2f}.",
        *notes(report),
        "",
        SPLIT_NOTE,
        "",
        *_markdown_table(SPLIT_HEADINGS, split_cells(report)),
        "",
        *(f"- {line}" for line in footprint_lines(report)),
    ]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    def row_of(result: Result, of_row: dict[str, Result]) -> dict[str, Any]:
        return {
            "operation": result.row.name,
            "mount": result.mount,
            "rounds": result.rounds,
            "microseconds": result.microseconds,
            "ratio": result.ratio,
            "share_of_throughput": result.shown if result.row.is_throughput else None,
            "caller_cpu_us": result.caller_us,
            "server_cpu_us": result.server_us,
            "waiting_us": None if result.row.is_throughput else result.waiting_us,
            "at_most": result.row.at_most,
            "at_least": result.row.at_least,
            "reached": result.reached if result.mount == "cgfs" else None,
            "slower_than": slower_than(of_row) if result.mount == "cgfs" else [],
        }

    def split_of(result: Result) -> dict[str, float | None]:
        return {
            "microseconds": result.microseconds,
            "caller_cpu_us": result.caller_us,
            "server_cpu_us": result.server_us,
            "waiting_us": result.waiting_us,
        }

    document: dict[str, Any] = {
        "machine": machine(),
        "load": report.load,
        "rounds": report.effort.rounds,
        "split": {result.mount: split_of(result) for result in report.results if result.row.name == SPLIT_ROW},
        "rows": [row_of(result, of_row) for _, of_row in report.by_row() for result in of_row.values()],
        "left_out": list(report.left_out),
        "footprints": [
            {"cgroups": each.cgroups, "memory_mb": each.memory_mb, "descriptors": each.descriptors}
            for each in report.footprints
        ],
        "footprints_missed": missed(report.footprints),
        "first_answer_s": report.first_answer_s,
    }
    return json.dumps(document, indent=2) + "\n"
