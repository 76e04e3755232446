"""`python -m tests.bench`, run by `scripts/bench`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from cgfs.mountinfo import cgroup2_mount
from tests.bench import memory, peers, report, stopping
from tests.bench.measure import FULL, QUICK, Bench, Effort, Result, build_timing
from tests.bench.plot import plot
from tests.bench.rows import CHILDREN, FILTERED, MANY_CHILDREN, ROWS
from tests.bench.tree import scratch_directory, tree


def servers(source: Path, scratch: Path, left_out: list[str], *, with_peers: bool) -> Iterator[peers.Server]:
    """cgfs and the peers, as far as they can be built here; the others are *left_out*."""
    yield peers.cgfs(source, scratch)
    for name, build in peers.PEERS if with_peers else ():
        try:
            yield build(source, scratch)
        except (OSError, stopping.Failed) as error:
            left_out.append(f"{name}: {error}")


def measure_rows(
    timing: Path,
    source: Path,
    built: list[peers.Server],
    effort: Effort,
    left_out: list[str],
    console: Console,
) -> list[Result]:
    """What could not be measured is added to *left_out*."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tree(source, CHILDREN))
        inside = root.relative_to(source)
        mounts = [peers.Mounted("cgroup2", root, None)]
        for server in built:
            try:
                mounts.append(stack.enter_context(peers.served(server, inside)))
            except stopping.Failed as error:
                if server.name == "cgfs":
                    raise
                left_out.append(f"{server.name}: {error}")
        (mounts[1].root / FILTERED / "net.ingress_filter").write_text("cbpf:1,6 0 0 1\n")
        bench = Bench(timing, mounts, effort)
        with console.status("measuring") as status:
            results = bench.measure(ROWS, lambda row: status.update(f"measuring: {row.name}"))
        left_out += bench.left_out
        return results


def run_bench(*, quick: bool, with_peers: bool, console: Console) -> report.Report:
    effort = QUICK if quick else FULL
    source = cgroup2_mount()
    load = os.getloadavg()[0]
    left_out: list[str] = []
    with scratch_directory() as scratch:
        timing = build_timing(scratch)
        built = list(servers(source, scratch, left_out, with_peers=with_peers))
        results = measure_rows(timing, source, built, effort, left_out, console)
        with console.status("walking"):
            footprints = [
                memory.footprint(timing, source, scratch / str(cgroups), cgroups)
                for cgroups in ((CHILDREN,) if quick else (CHILDREN, MANY_CHILDREN))
            ]
            first_answer_s = memory.first_answer_s(source, scratch / "first")
    return report.Report(effort, load, results, left_out, footprints, first_answer_s)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds, no large tree: within a minute.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the results to this file too.")
@click.option("--markdown", "markdown_path", type=click.Path(path_type=Path), help="Write the README's table there.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Draw the ratios into this file.")
@click.option("--peers/--no-peers", "with_peers", default=True, help="Measure the other FUSE servers as well.")
def main(
    quick: bool, json_path: Path | None, markdown_path: Path | None, plot_path: Path | None, with_peers: bool
) -> None:
    """Measure cgfs beside cgroup2 itself and beside other FUSE mirrors, as ratios of one run. Needs root.

    Ended by a signal it removes what it has made, and exits with 128 and the signal's number.
    """
    console = Console()
    stopping.listen()
    try:
        found = run_bench(quick=quick, with_peers=with_peers, console=console)
    except stopping.Stopped as stopped:
        click.echo(f"bench: {stopped}; what it had made is removed", err=True)
        sys.exit(128 + stopped.number)
    except (OSError, stopping.Failed) as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(1)
    report.show(found, console)
    if json_path is not None:
        json_path.write_text(report.as_json(found))
    if markdown_path is not None:
        markdown_path.write_text(report.as_markdown(found))
    if plot_path is not None:
        plot(found, plot_path)


if __name__ == "__main__":
    main()
