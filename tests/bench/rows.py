"""What is measured: one row an operation. Facts only; `measure` runs them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One operation of `timing.c`, done at most *count* times by each thread on *path* below the bench's root cgroup.

    *at_most* is the ratio to cgroup2's time that the project means to keep; for a throughput row it is *at_least*, the
    share of cgroup2's throughput. A *cold* row is done exactly *count* times, after the caches were dropped. Before
    each measurement the servers have done nothing for *quiet_s*. *base_path* and *base_operation* are what is done on
    cgroup2 itself where that is something else. *has_floor*: the floor can do it, too.
    """

    name: str
    operation: str
    count: int
    path: str = "."
    argument: str | None = None
    threads: int = 1
    cold: bool = False
    at_most: float | None = None
    at_least: float | None = None
    base_path: str | None = None
    base_operation: str | None = None
    cgfs_only: bool = False
    has_floor: bool = True
    quiet_s: float = 0.01

    @property
    def is_throughput(self) -> bool:
        return self.at_least is not None


CHILDREN = 1000
FILTERED = "cgfs-2"
"""The cgroup that has a filter while the rows are measured: on ingress, since the kernel patches its code for the first
program of a hook, and when its last one goes, and that is part of what attaching on egress measures.
"""
MANY_CHILDREN = 10000

MEMORY_AT_MOST_MB = 60.0
"""What cgfs may hold, in all, after a walk over MANY_CHILDREN cgroups."""
SAME_MEMORY_WITHIN = 0.05
"""Memory after MANY_CHILDREN is that after CHILDREN if it is larger by no more than this share."""

SPLIT_ROW = "open+read+close cgroup.events"
"""The row whose time is shown split: the caller's, the daemon's, and waiting."""

ROWS = (
    Row("open+read+close cgroup.procs", "open-read-close", 20000, "cgfs-1/cgroup.procs", at_most=4.0),
    Row(SPLIT_ROW, "open-read-close", 20000, "cgfs-1/cgroup.events", at_most=4.0),
    Row("open+read+close cpu.stat", "open-read-close", 20000, "cgfs-1/cpu.stat", at_most=4.0),
    Row("pread on an open descriptor", "pread", 200000, "cgfs-1/cgroup.events", at_most=1.25),
    Row("stat, warm", "stat", 100000, "cgfs-1/cgroup.events", at_most=1.0),
    Row("stat of 1,000 cgroups, cold", "stat", CHILDREN, "cgfs-%d", cold=True, at_most=4.2),
    Row("readdir of 1,000 cgroups", "readdir", 500, at_most=1.0),
    Row("ls -l of a cgroup, warm", "ls-l", 2000, "cgfs-1", at_most=1.0),
    Row("ls -l of 100 cgroups, cold", "ls-l", 100, "cgfs-%d", cold=True),
    Row("ls -l of the top directory, warm", "ls-l", 100, at_most=1.0),
    Row("ls -l of the top directory, cold", "ls-l", 1, cold=True),
    Row("walk with stat, warm", "walk", 1, at_most=0.9),
    Row("walk with stat, cold", "walk", 1, cold=True, at_most=3.6),
    Row("mkdir+rmdir", "mkdir-rmdir", 2000, at_most=3.5, quiet_s=0.1, has_floor=False),
    Row("own pid to cgroup.procs, open+write+close", "move-itself", 4000, argument="cgfs-1", at_most=2.5),
    Row("others' pids to cgroup.procs, the same", "move-child", 4000, argument="cgfs-1", at_most=2.5, has_floor=False),
    Row("setting, open+write+close", "write", 20000, "cgfs-1/cgroup.max.depth", "max", at_most=4.2),
    Row(
        "16 threads open+read+close",
        "open-read-close",
        2000,
        "cgfs-1/cgroup.events",
        threads=16,
        at_least=0.40,
        has_floor=False,
    ),
    Row("16 threads pread", "pread", 20000, "cgfs-1/cgroup.events", threads=16, at_least=0.75, has_floor=False),
    Row(
        "control file, open+read+close",
        "open-read-close",
        10000,
        "cgfs-1/net.egress_filter",
        base_path="cgfs-1/cgroup.events",
        at_most=25,
        cgfs_only=True,
    ),
    Row(
        "control file that has a filter",
        "open-read-close",
        10000,
        f"{FILTERED}/net.ingress_filter",
        base_path="cgfs-1/cgroup.events",
        at_most=25,
        cgfs_only=True,
    ),
    Row(
        "attach and detach, beside bpf(2)",
        "attach-file",
        2000,
        "cgfs-1/net.egress_filter",
        base_path="cgfs-1",
        base_operation="attach-bpf",
        at_most=6,
        cgfs_only=True,
    ),
)
