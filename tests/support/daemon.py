"""The real daemon: `cgfs mount --foreground` as a process of its own, from start to a clean end.

    with Overlay.started(mountpoint, options=("nopassthrough",)) as overlay:
        (overlay.mountpoint / "cgroup.procs").read_text()

The end of the block asserts what every use of cgfs may expect: SIGTERM ends it with exit code 0, no mount
stays, it logged no warning that the test did not announce, and it holds no more descriptors than at its
start.
"""

import collections
import contextlib
import errno
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cgroups import cgroup2_mount
from tests.support.waiting import DEADLINE_S, Overdue, until
from tests.support.watchdog import Watchdog, abort_mount

_ON_CGROUP2 = "cgroup2:"
SUSPICIOUS = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback|Sanitizer|runtime error")


def cgfs_command() -> list[str]:
    """The `cgfs` command of the environment that runs the tests."""
    return [str(Path(sys.executable).parent / "cgfs")]


def mount_of(mountpoint: Path) -> str | None:
    """The line of /proc/self/mountinfo of the mount on top at *mountpoint*, None if there is none."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4] == str(mountpoint):
            found = line
    return found


def is_overlay(mountpoint: Path) -> bool:
    line = mount_of(mountpoint)
    return line is not None and line.partition(" - ")[2].split()[0] == "fuse.cgfs"


@dataclass
class Overlay:
    """A running daemon and its mount."""

    process: subprocess.Popen[bytes]
    mountpoint: Path
    source: Path
    log_path: Path
    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    pid: int = 0
    descriptors: collections.Counter[str] = field(default_factory=collections.Counter)
    killed: bool = False
    _expected: list[re.Pattern[str]] = field(default_factory=list)

    def path(self, cgroup: Path) -> Path:
        """Where *cgroup* (a path on the cgroup2 mount) is on the mirror."""
        return self.mountpoint / cgroup.relative_to(self.source)

    def log(self) -> str:
        """What the daemon has written to stdout and stderr so far."""
        return self.log_path.read_text(errors="replace")

    def expect_in_log(self, pattern: str) -> None:
        """Announce suspicious log lines: those that match the regular expression *pattern* do not fail the
        test.
        """
        self._expected.append(re.compile(pattern))

    def suspicious_lines(self) -> list[str]:
        lines = [line for line in self.log().splitlines() if SUSPICIOUS.search(line)]
        return [line for line in lines if not any(pattern.search(line) for pattern in self._expected)]

    @classmethod
    @contextlib.contextmanager
    def started(
        cls,
        mountpoint: Path,
        watchdog: Watchdog,
        *,
        options: Sequence[str] = (),
        source: Path | None = None,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> Iterator["Overlay"]:
        """Start a daemon on *mountpoint* (made if it is missing).

        *arguments* go before the mount point. *prefix* is a command that runs the daemon as its only child, such as
        `unshare --pid --fork`.
        """
        mountpoint.mkdir(parents=True, exist_ok=True)
        watchdog.guard(mountpoint)
        ready, theirs = os.pipe()
        try:
            overlay = cls._start(mountpoint, theirs, options, source, arguments, prefix, environment)
        finally:
            os.close(theirs)
        try:
            overlay._wait_until_ready(ready)
            yield overlay
            if not overlay.killed:
                overlay.stop()
        finally:
            os.close(ready)
            overlay._clean_up()
            watchdog.release(mountpoint)

    @classmethod
    def _start(
        cls,
        mountpoint: Path,
        ready_fd: int,
        options: Sequence[str],
        source: Path | None,
        arguments: Sequence[str],
        prefix: Sequence[str],
        environment: dict[str, str] | None,
    ) -> "Overlay":
        command = [*prefix, *cgfs_command(), "mount", "--foreground", "--ready-fd", str(ready_fd)]
        if source is not None:
            command.append(str(source))
        if options:
            command += ["-o", ",".join(options)]
        log_path = mountpoint.with_name(mountpoint.name + ".log")
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [*command, *arguments, str(mountpoint)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                pass_fds=[ready_fd],
            )
        return cls(process, mountpoint, source or cgroup2_mount(), log_path, tuple(options), tuple(prefix))

    def _wait_until_ready(self, ready_fd: int) -> None:
        """Wait for the daemon's word; its end without one closes the pipe."""
        readable, _, _ = select.select([ready_fd], [], [], DEADLINE_S)
        assert readable, f"the daemon is not ready after {DEADLINE_S:.0f} s:\n{self.log()}"
        assert os.read(ready_fd, 16) == b"ready\n", f"the daemon has ended:\n{self.log()}"
        assert is_overlay(self.mountpoint)
        self.pid = _only_child(self.process.pid) if self.prefix else self.process.pid
        (self.mountpoint / "net.ingress_filter").read_bytes()
        self.descriptors = open_descriptors(self.pid)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon with a signal, if it has not ended by itself, and assert the clean end (see above)."""
        if self.process.poll() is None:
            self.assert_no_descriptors_leaked()
            os.kill(self.pid, number)
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Overdue(f"the daemon did not end on signal {number}:\n{self.log()}") from None
        assert code == 0, f"the daemon ended with {code}:\n{self.log()}"
        assert not is_overlay(self.mountpoint), "the daemon has ended and its mount is still there"
        suspicious = self.suspicious_lines()
        assert not suspicious, (
            f"{len(suspicious)} suspicious lines in the log, the first {suspicious[0]!r}:\n{self.log()}"
        )

    def kill(self) -> None:
        """kill -9, and wait for its end. The mount stays, and answers ENOTCONN, until the end of started()."""
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def assert_no_descriptors_leaked(self) -> None:
        """What is open in the daemon is what was open when it was ready, and at most one descriptor of each file that
        was read since a cgroup was removed; closing may take the kernel a moment.
        """

        def leaked() -> collections.Counter[str]:
            more = self.more_descriptors(self.descriptors)
            return more - collections.Counter(target for target in more if self._is_file(target))

        try:
            until(lambda: not leaked(), "every descriptor is closed")
        except Overdue:
            raise AssertionError(f"the daemon leaks descriptors: {leaked()}") from None

    def more_descriptors(self, before: collections.Counter[str]) -> collections.Counter[str]:
        """What is open in the daemon and was not *before*, but for one directory of cgroup2 that is there."""
        more = open_descriptors(self.pid) - before
        return more - collections.Counter([target for target in more if self._is_directory(target)][:1])

    def _is_file(self, target: str) -> bool:
        """Whether *target*, of a descriptor, is a file of cgroup2, removed or not."""
        return target.startswith(_ON_CGROUP2) and "." in target.rpartition("/")[2]

    def _is_directory(self, target: str) -> bool:
        """Whether it is a directory of cgroup2, and there."""
        path = target.removeprefix(_ON_CGROUP2)  # on the mount, or on the daemon's copy of it
        return path != target and (Path(path).is_dir() or Path(f"{self.source}{path}").is_dir())

    def _clean_up(self) -> None:
        """Whatever happened: no process and no mount stay."""
        if self.process.poll() is None:
            abort_mount(self.mountpoint)
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait(DEADLINE_S)
        while mount_of(self.mountpoint) is not None:
            abort_mount(self.mountpoint)


def _target_of(descriptor: Path) -> str:
    try:
        on_cgroup2 = descriptor.stat().st_dev == cgroup2_mount().stat().st_dev
        return f"{_ON_CGROUP2 if on_cgroup2 else ''}{descriptor.readlink()}"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return "(a path that is too long)"


def limited_to(descriptors: int) -> tuple[str, ...]:
    """The *prefix* of a daemon that may have so many descriptors."""
    return ("prlimit", f"--nofile={descriptors}:{descriptors}", "unshare", "--fork")


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def open_descriptors(pid: int) -> collections.Counter[str]:
    """What process *pid* has open, counted by kind, but for /dev/fuse: a worker more is no leak."""
    kinds: collections.Counter[str] = collections.Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = re.sub(r":\[\d+\]$", "", _target_of(entry))
            if target != "/dev/fuse":
                kinds[target] += 1
    return kinds
