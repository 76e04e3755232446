"""`python -m tests.bench`, run by `scripts/bench`."""

import contextlib
import tempfile
from pathlib import Path

import click
from rich.console import Console

from cgfs.mountinfo import cgroup2_mount
from tests.bench import peers, report
from tests.bench.measure import Result, build_timing, measure
from tests.bench.memory import Footprint, footprint, time_to_first_answer_s
from tests.bench.rows import CHILDREN, ROWS
from tests.bench.tree import tree


def measure_rows(source: Path, scratch: Path, *, quick: bool, with_peers: bool, console: Console) -> list[Result]:
    rounds, share = (3, 0.2) if quick else (9, 1.0)
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tree(source, CHILDREN))
        inside = root.relative_to(source)
        mounts = [peers.Mounted("cgroup2", root, None), stack.enter_context(peers.cgfs(source, scratch, inside))]
        if with_peers:
            mounts.append(stack.enter_context(peers.passthrough_ll(source, scratch, inside)))
            mounts.append(stack.enter_context(peers.pyfuse3_example(source, scratch, inside)))
        timing = build_timing(scratch)
        with console.status("measuring") as status:
            return measure(
                timing,
                ROWS,
                mounts,
                rounds=rounds,
                share=share,
                progress=lambda row: status.update(f"measuring: {row.name}"),
            )


def measure_footprints(source: Path, scratch: Path, *, quick: bool) -> list[Footprint]:
    footprints = []
    for cgroups in (CHILDREN,) if quick else (CHILDREN, 10 * CHILDREN):
        scratch_of = scratch / str(cgroups)
        scratch_of.mkdir()
        with tree(source, cgroups) as root, peers.cgfs(source, scratch_of, root.relative_to(source)) as mount:
            assert mount.pid is not None
            footprints.append(footprint(mount.pid, mount.root, cgroups))
    return footprints


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds, no large tree: within a minute.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the results to this file too.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Draw the ratios into this file.")
@click.option("--peers/--no-peers", "with_peers", default=True, help="Measure the other FUSE mirrors as well.")
def main(quick: bool, json_path: Path | None, plot_path: Path | None, with_peers: bool) -> None:
    """Measure cgfs beside cgroup2 itself and beside other FUSE mirrors, as ratios of one run. Needs root."""
    console = Console()
    source = cgroup2_mount()
    with tempfile.TemporaryDirectory(prefix="cgfs-bench-") as name:
        scratch = Path(name)
        results = measure_rows(source, scratch, quick=quick, with_peers=with_peers, console=console)
        footprints = measure_footprints(source, scratch, quick=quick)
        first_answer_s = time_to_first_answer_s(source, scratch / "first")
    report.show(results, footprints, first_answer_s, console)
    if json_path is not None:
        json_path.write_text(report.as_json(results, footprints, first_answer_s))
    if plot_path is not None:
        report.plot(results, plot_path)


if __name__ == "__main__":
    main()
