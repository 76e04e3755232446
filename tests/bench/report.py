"""The results as a table, as JSON and as a plot."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Result
from tests.bench.memory import Footprint


def machine() -> str:
    """The machine in a line: processor, number of CPUs, kernel."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def wanted(result: Result) -> str:
    if result.row.at_least is not None:
        return f"≥ {result.row.at_least:.2f}"
    return "" if result.row.at_most is None else f"≤ {result.row.at_most:g}"


def figure(result: Result) -> str:
    """The ratio; for throughput rows its inverse, the share of cgroup2's throughput."""
    return f"{1 / result.ratio:.2f}" if result.row.at_least is not None else f"{result.ratio:.2f}"


def show(results: Sequence[Result], footprints: Sequence[Footprint], first_answer_s: float, console: Console) -> None:
    mounts = list(dict.fromkeys(result.mount for result in results))
    table = Table(title=f"ratios to cgroup2 itself, medians; {machine()}")
    for heading in ("operation", "cgroup2 µs", *mounts[1:], "wanted", "cgfs CPU µs"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for row in dict.fromkeys(result.row for result in results):
        of_row = {result.mount: result for result in results if result.row == row}
        ours = of_row["cgfs"]
        style = "red" if ours.reached is False else ""
        cells = [figure(of_row[name]) if name in of_row else "" for name in mounts[1:]]
        cpu = "" if ours.server_cpu_us is None else f"{ours.server_cpu_us:.1f}"
        table.add_row(row.name, f"{of_row[mounts[0]].microseconds:.1f}", *cells, wanted(ours), cpu, style=style)
    console.print(table)
    for footprint in footprints:
        console.print(
            f"after a walk over {footprint.cgroups} cgroups: {footprint.memory_kib / 1024:.1f} MiB, "
            f"{footprint.descriptors} descriptors"
        )
    console.print(f"from `cgfs mount` to the first answer: {first_answer_s * 1000:.0f} ms")


def as_json(results: Sequence[Result], footprints: Sequence[Footprint], first_answer_s: float) -> str:
    document: dict[str, Any] = {
        "machine": machine(),
        "rows": [
            {
                "operation": result.row.name,
                "mount": result.mount,
                "microseconds": result.microseconds,
                "ratio": result.ratio,
                "server_cpu_us": result.server_cpu_us,
                "reached": result.reached,
            }
            for result in results
        ],
        "footprints": [
            {"cgroups": each.cgroups, "memory_kib": each.memory_kib, "descriptors": each.descriptors}
            for each in footprints
        ],
        "first_answer_s": first_answer_s,
    }
    return json.dumps(document, indent=2) + "\n"


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the ratios as bars, one colour a mount, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    mounts = list(dict.fromkeys(result.mount for result in results))[1:]
    rows = list(dict.fromkeys(result.row for result in results))
    figure_, axes = pyplot.subplots(figsize=(9, 0.5 * len(rows) + 1.5))
    height = 0.8 / len(mounts)
    for place, mount in enumerate(mounts):
        ratios = {result.row: result.ratio for result in results if result.mount == mount}
        positions = [index + place * height for index, row in enumerate(rows) if row in ratios]
        axes.barh(positions, [ratios[row] for row in rows if row in ratios], height, label=mount)
    axes.set_yticks([index + 0.4 for index in range(len(rows))], [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time, as a ratio to cgroup2 itself")
    axes.legend()
    figure_.tight_layout()
    figure_.savefig(path)
