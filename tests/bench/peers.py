"""The mounts that are compared: cgroup2 itself, cgfs, the floor, and the two peers that one can build here.

Each server is a command, and `served` a context manager that runs it and gives the directory under which the bench's
cgroup is seen. The floor (`floor.c`) looks at nothing: what it takes is the kernel's FUSE. The peers' source is not
ours and is never committed: it comes from libfuse3-dev's examples and from pyfuse3's source distribution, and is built
in a temporary directory.
"""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cgfs.mountinfo import mount_at
from tests.bench.stopping import Failed, bind_to, check, run
from tests.support.watchdog import abort_mount

NATIVE = Path(__file__).parent.parent.parent / "native"
FLOOR = "floor"
PASSTHROUGH_LL = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
DOWNLOADS = Path(__file__).parent.parent.parent / "build" / "bench"
"""Not in git; a source distribution is loaded once."""

_MOUNTED_WITHIN_S = 30.0
_ENDED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Mounted:
    """A place where the bench's cgroup is seen; *pid* serves it (None: the kernel). Who asks there is to be on *cpu*
    (None: on any).
    """

    name: str
    root: Path
    pid: int | None
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A FUSE server: *command* mounts a mirror on *mountpoint* and stays in the foreground, bound to *cpu*."""

    name: str
    command: tuple[str, ...]
    mountpoint: Path
    cpu: int | None = None


@contextlib.contextmanager
def served(server: Server, inside: Path) -> Iterator[Mounted]:
    """Run *server*; at the end its mount is gone and its process waited for. *inside* is the bench's cgroup in it."""
    server.mountpoint.mkdir()
    process = subprocess.Popen(
        server.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=bind_to(server.cpu),
    )
    try:
        _wait_for_mount(server.mountpoint, process)
        yield Mounted(server.name, server.mountpoint / inside, process.pid, server.cpu)
    finally:
        _end(process, server.mountpoint)


def _wait_for_mount(mountpoint: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _MOUNTED_WITHIN_S
    while mount_at(mountpoint) is None:
        check()
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{process.args!r} did not mount {mountpoint}: exit status {process.returncode}")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes], mountpoint: Path) -> None:
    """Abort the connection first, so that nobody waits for an answer; then the process ends, or is killed."""
    abort_mount(mountpoint)
    process.terminate()
    try:
        process.wait(_ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if mount_at(mountpoint) is not None:
        abort_mount(mountpoint)


def cgfs(source: Path, scratch: Path) -> Server:
    mountpoint = scratch / "cgfs"
    command = (sys.executable, "-m", "cgfs", "mount", "--foreground", str(source), str(mountpoint))
    return Server("cgfs", command, mountpoint)


def floor(source: Path, scratch: Path) -> Server:
    """One CPU for it and its callers: to wake another would take longer than all the rest."""
    program = scratch / "floor"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", f"-I{NATIVE / 'mirror'}"]
    run(["cc", *flags, "-o", program, Path(__file__).with_name("floor.c")])
    mountpoint = scratch / "below"
    return Server(FLOOR, (str(program), str(source), str(mountpoint)), mountpoint, min(os.sched_getaffinity(0)))


def passthrough_ll(source: Path, scratch: Path) -> Server:
    """libfuse's own example, compiled as it is; cache=never, since cgroup files have a size of 0."""
    program = scratch / "passthrough_ll"
    flags = run(["pkg-config", "--cflags", "--libs", "fuse3"]).split()
    run(["cc", "-O2", "-w", "-o", program, PASSTHROUGH_LL, *flags])
    mountpoint = scratch / "passthrough-ll"
    command = (str(program), "-f", "-o", f"source={source},cache=never", str(mountpoint))
    return Server("passthrough_ll", command, mountpoint)


def pyfuse3_example(source: Path, scratch: Path) -> Server:
    """pyfuse3's example, with direct I/O: without it, it reads nothing from files of size 0."""
    name = f"pyfuse3-{importlib.metadata.version('pyfuse3')}"
    archive = DOWNLOADS / f"{name}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "pyfuse3"]
        run([*pip, "-d", scratch, name.replace("-", "==")])
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".partial")
        shutil.copy(scratch / archive.name, partial)
        partial.replace(archive)
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"{name}/examples/passthroughfs.py")
        if member is None:
            raise Failed(f"{archive.name} has no examples/passthroughfs.py")
        text = member.read().decode()
    script = scratch / "passthroughfs.py"
    for descriptor in ("fd", "FileHandleT(fd)"):
        text = text.replace(f"FileInfo(fh={descriptor})", f"FileInfo(fh={descriptor}, direct_io=True)")
    script.write_text(text)
    mountpoint = scratch / "pyfuse3"
    return Server("pyfuse3", (sys.executable, str(script), str(source), str(mountpoint)), mountpoint)


PEERS: tuple[tuple[str, Callable[[Path, Path], Server]], ...] = (
    (FLOOR, floor),
    ("passthrough_ll", passthrough_ll),
    ("pyfuse3", pyfuse3_example),
)
