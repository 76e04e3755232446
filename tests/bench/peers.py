"""The mounts that are compared: cgroup2 itself, cgfs, and the two peers that one can build here.

Each is a context manager that gives the directory under which the bench's cgroup is seen, with the process that
serves it. The peers' source is not ours and is never committed: it comes from libfuse3-dev's examples and from
pyfuse3's source distribution, and is built in a temporary directory.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSTHROUGH_LL = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A place where the bench's cgroup is seen; *pid* serves it (None: the kernel)."""

    name: str
    root: Path
    pid: int | None


def wait_for_mount(mountpoint: Path, process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    """Wait until something is mounted on *mountpoint*. Raises OSError with what the server said if it ended."""
    deadline = time.monotonic() + timeout_s
    before = mountpoint.parent.stat().st_dev
    while mountpoint.stat().st_dev == before:
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"{process.args!r} did not mount {mountpoint}: exit status {process.returncode}")
        time.sleep(0.01)


@contextlib.contextmanager
def served(name: str, command: list[str], mountpoint: Path, inside: Path) -> Iterator[Mounted]:
    """Run *command*, which mounts on *mountpoint* and stays in the foreground; unmount and end it."""
    mountpoint.mkdir()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_mount(mountpoint, process)
        yield Mounted(name, mountpoint / inside, process.pid)
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=False, stderr=subprocess.DEVNULL)
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cgfs(source: Path, scratch: Path, inside: Path) -> contextlib.AbstractContextManager[Mounted]:
    mountpoint = scratch / "cgfs"
    command = [sys.executable, "-m", "cgfs", "mount", "--foreground", "--source", str(source), str(mountpoint)]
    return served("cgfs", command, mountpoint, inside)


def passthrough_ll(source: Path, scratch: Path, inside: Path) -> contextlib.AbstractContextManager[Mounted]:
    """libfuse's own example, compiled as it is; cache=never, since cgroup files have a size of 0."""
    program = scratch / "passthrough_ll"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
    ).stdout.split()
    compile_command = ["cc", "-O2", "-w", "-o", str(program), str(PASSTHROUGH_LL), *flags]
    subprocess.run(compile_command, check=True)
    mountpoint = scratch / "passthrough-ll"
    command = [str(program), "-f", "-o", f"source={source},cache=never", str(mountpoint)]
    return served("passthrough_ll", command, mountpoint, inside)


def pyfuse3_example(source: Path, scratch: Path, inside: Path) -> contextlib.AbstractContextManager[Mounted]:
    """pyfuse3's example, with direct I/O: without it, it reads nothing from files of size 0."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "-d", str(scratch), "pyfuse3"], check=True, stderr=subprocess.DEVNULL)
    archive = next(scratch.glob("pyfuse3-*.tar.gz"))
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/examples/passthroughfs.py")
        if member is None:
            raise OSError(f"{archive.name} has no examples/passthroughfs.py")
        text = member.read().decode()
    script = scratch / "passthroughfs.py"
    script.write_text(
        text.replace("FileInfo(fh=fd)", "FileInfo(fh=fd, direct_io=True)").replace(
            "FileInfo(fh=FileHandleT(fd))", "FileInfo(fh=FileHandleT(fd), direct_io=True)"
        )
    )
    mountpoint = scratch / "pyfuse3"
    return served("pyfuse3", [sys.executable, str(script), str(source), str(mountpoint)], mountpoint, inside)


def cpu_seconds(pid: int) -> float:
    """User and system time that process *pid* has used (proc(5), stat fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
