"""The `cgfs` command as a user calls it, and the daemons that it leaves running."""

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon import cgfs_command
from tests.support.waiting import DEADLINE_S


def cgfs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `cgfs` with these arguments and wait for its end."""
    return called([*cgfs_command(), *map(str, arguments)])


def called(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env=environment)


def in_mount_namespace(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run sh(1) in a mount namespace of its own. The script has *arguments* as $1, $2, and ends at the first error."""
    return called(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *arguments])


def succeed(*arguments: str | Path) -> str:
    """Run `cgfs`, which has to say nothing on stderr and exit with 0. Returns its stdout."""
    done = cgfs(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1, nothing on stdout, and on stderr one line in which *words* are."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("cgfs: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def daemons_of(mountpoint: Path) -> list[int]:
    """The processes whose command line names *mountpoint*."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(mountpoint) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def foreground(
    mountpoint: Path,
    *arguments: str | Path,
    log: Path,
    inherit: tuple[int, ...] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """`cgfs mount --foreground`, ready; it is ended by kill -9 if the test has not ended it. *environment* is more
    of it.
    """
    reader, writer = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *cgfs_command(),
                "mount",
                "--foreground",
                "--ready-fd",
                str(writer),
                *map(str, arguments),
                str(mountpoint),
            ],
            pass_fds=(writer, *inherit),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    os.close(writer)
    try:
        with open(reader, "rb") as words:
            assert select.select([words], [], [], DEADLINE_S)[0], f"not ready: {log.read_text()}"
            assert words.read() == b"ready\n", log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_S)
