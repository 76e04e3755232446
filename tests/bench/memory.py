"""What the daemon holds after a walk, and how long it takes to answer for the first time."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Footprint:
    """The daemon's memory (proportional set size) and open descriptors after a walk over *cgroups* cgroups."""

    cgroups: int
    memory_kib: int
    descriptors: int


def footprint(pid: int, root: Path, cgroups: int) -> Footprint:
    """Walk *root* with stat, then look at process *pid* (proc(5), smaps_rollup)."""
    for directory, _, files in os.walk(root):
        for name in files:
            os.stat(os.path.join(directory, name))
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    memory_kib = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return Footprint(cgroups, memory_kib, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def time_to_first_answer_s(source: Path, mountpoint: Path) -> float:
    """Seconds from the start of `cgfs mount` to its return, when the mount answers."""
    mountpoint.mkdir()
    begin = time.monotonic()
    subprocess.run([sys.executable, "-m", "cgfs", "mount", "--source", str(source), str(mountpoint)], check=True)
    taken_s = time.monotonic() - begin
    (mountpoint / "cgroup.procs").read_bytes()
    subprocess.run([sys.executable, "-m", "cgfs", "umount", str(mountpoint)], check=True)
    return taken_s
