"""The ratios as bars, one colour a mount, on a logarithmic scale."""

from pathlib import Path

from tests.bench.report import Report


def plot(report: Report, path: Path) -> None:
    """Draw *report* into *path*; of the throughput rows too the time is drawn, so that shorter is always better."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = list(report.by_row())
    peers = report.mounts[1:]
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(rows) + 1.5))
    height = 0.8 / len(peers)
    for place, mount in enumerate(peers):
        bars = [
            (index + place * height, of_row[mount].ratio) for index, (_, of_row) in enumerate(rows) if mount in of_row
        ]
        axes.barh([position for position, _ in bars], [ratio for _, ratio in bars], height, label=mount)
    for index, (row, _) in enumerate(rows):
        most = 1 / row.at_least if row.at_least is not None else row.at_most
        if most is not None:
            label = "wanted" if index == 0 else None
            axes.plot([most, most], [index - 0.2, index + 0.8], color="black", linewidth=1.5, label=label)
    axes.set_yticks([index + 0.3 for index in range(len(rows))], [row.name for row, _ in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("time, as a ratio to cgroup2 itself")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
