"""Where the mirror is not like cgroup2, and why: the one table, which the README shows too."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """*what* the mirror does otherwise and *why*; *acts* are those that show it, for *actors* (none: for all)."""

    what: str
    why: str
    acts: tuple[str, ...]
    actors: tuple[str, ...] = ()

    def concerns(self, actor: str, act: str) -> bool:
        return act in self.acts and (not self.actors or actor in self.actors)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "statfs(2) names FUSE, and /proc/mounts the type fuse.cgfs",
        "the kernel answers for the file system that is mounted; tools that insist on cgroup2's magic number "
        "(crun, systemd, libcgroup) refuse the mirror as their own /sys/fs/cgroup",
        ("statfs magic", "the type of the mount"),
    ),
    Difference(
        "clone3(2) with CLONE_INTO_CGROUP, bpf(2) and `bpftool cgroup` refuse a descriptor of the mirror with EBADF",
        "the kernel takes descriptors of cgroup2 itself only",
        ("clone into a cgroup by descriptor", "query the programs of a cgroup by descriptor"),
    ),
)


def as_markdown() -> str:
    """The table as the README has it."""
    rows = [f"| {row.what} | {row.why} |" for row in DIFFERENCES]
    return "\n".join(["| on the mirror | because |", "|---|---|", *rows])
