"""What is measured: one row an operation. Facts only; `measure` runs them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One operation of `timing.c`, done *count* times on `path` below the bench's root cgroup.

    *at_most* is the ratio to cgroup2 that the project means to keep (for throughput rows, *at_least* of it).
    """

    name: str
    operation: str
    count: int
    path: str = ""
    argument: str | None = None
    threads: int = 1
    cold: bool = False
    at_most: float | None = None
    at_least: float | None = None
    base_path: str | None = None
    base_operation: str | None = None
    cgfs_only: bool = False


CHILDREN = 1000

ROWS = (
    Row("open+read+close cgroup.procs", "open-read-close", 4000, "cgfs-1/cgroup.procs", at_most=4.0),
    Row("open+read+close cgroup.events", "open-read-close", 4000, "cgfs-1/cgroup.events", at_most=4.0),
    Row("open+read+close cpu.stat", "open-read-close", 4000, "cgfs-1/cpu.stat", at_most=4.0),
    Row("pread on an open descriptor", "pread", 20000, "cgfs-1/cgroup.events", at_most=1.25),
    Row("stat, warm", "stat", 20000, "cgfs-1/cgroup.events", at_most=1.0),
    Row("readdir", "readdir", 20, at_most=1.0),
    Row("ls -l, warm", "ls-l", 200, "cgfs-1", at_most=1.0),
    Row("ls -l, cold", "ls-l", 1, "", cold=True),
    Row("stat, cold", "stat-children", 1, "", str(CHILDREN), cold=True, at_most=4.2),
    Row("walk with stat, warm", "walk", 1, at_most=0.9),
    Row("walk with stat, cold", "walk", 1, cold=True, at_most=3.6),
    Row("mkdir+rmdir", "mkdir-rmdir", 200, at_most=3.5),
    Row("pid written to cgroup.procs", "move", 200, argument="cgfs-1", at_most=2.5),
    Row("a setting, open+write+close", "write", 3000, "cgfs-1/cgroup.max.depth", "max", at_most=4.2),
    Row("16 threads open+read+close", "open-read-close", 1000, "cgfs-1/cgroup.events", threads=16, at_least=0.40),
    Row("16 threads pread", "pread", 5000, "cgfs-1/cgroup.events", threads=16, at_least=0.75),
    Row(
        "control file, open+read+close",
        "open-read-close",
        1000,
        "cgfs-1/net.egress_filter",
        base_path="cgfs-1/cgroup.events",
        at_most=25,
        cgfs_only=True,
    ),
    Row(
        "attach and detach",
        "attach-file",
        200,
        "cgfs-1/net.egress_filter",
        base_path="cgfs-1",
        base_operation="attach-bpf",
        at_most=6,
        cgfs_only=True,
    ),
)
