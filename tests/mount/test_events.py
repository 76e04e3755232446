"""poll, select and epoll on the mirror: whoever waits for a change learns of it, and of one change once."""

import contextlib
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.mount.conftest import Twin
from tests.support import programs
from tests.support.cgroups import is_frozen
from tests.support.child import Child
from tests.support.control import attach, shown
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.waiting import DEADLINE_S, until

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])


class Waiter(Protocol):
    """Waits for a change (POLLPRI) of one open file. Returns whether there is one."""

    def __call__(self, fd: int, timeout_s: float) -> bool: ...


def wait_by_poll(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    return bool(poll.poll(timeout_s * 1000))


def wait_by_select(fd: int, timeout_s: float) -> bool:
    return bool(select.select([], [], [fd], timeout_s)[2])


def wait_by_epoll(fd: int, timeout_s: float) -> bool:
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLPRI)
        return bool(epoll.poll(timeout_s))


def wait_by_nested_epoll(fd: int, timeout_s: float) -> bool:
    with select.epoll() as inner, select.epoll() as outer:
        inner.register(fd, select.EPOLLPRI)
        outer.register(inner.fileno(), select.EPOLLIN)
        return bool(outer.poll(timeout_s)) and bool(inner.poll(0))


WAITERS = (wait_by_poll, wait_by_select, wait_by_epoll, wait_by_nested_epoll)
waiters = pytest.mark.parametrize("wait", WAITERS, ids=["poll", "select", "epoll", "nested"])


class OpenFile:
    """A file that is open for as long as the test, and was read so that no change is left to report."""

    def __init__(self, path: Path, wait: Waiter) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self._wait = wait
        until(self._is_quiet, f"{path} has no change to report once it was read")

    def _is_quiet(self) -> bool:
        self.read()
        return not self._wait(self.fd, 0)

    def read(self) -> str:
        return os.pread(self.fd, 4096, 0).decode()

    def wait(self) -> bool:
        return self._wait(self.fd, DEADLINE_S)

    def wait_until(self, condition: Callable[[str], bool]) -> None:
        """Read, and wait for the next change, until the content is as wanted. A change that is not reported
        ends the test.
        """
        while not condition(self.read()):
            assert self.wait(), "a change was not reported"


@contextlib.contextmanager
def opened(path: Path, wait: Waiter) -> Iterator[OpenFile]:
    file = OpenFile(path, wait)
    try:
        yield file
    finally:
        os.close(file.fd)


def freeze(cgroup: Path, *, frozen: bool) -> None:
    (cgroup / "cgroup.freeze").write_text("1" if frozen else "0")


# --- poll ---------------------------------------------------------------------------------------------------------


@waiters
def test_a_cgroup_that_is_populated_wakes_whoever_waits(twin: Twin, wait: Waiter) -> None:
    with opened(twin.mirror / "cgroup.events", wait) as events:
        for _ in range(3):
            with Child(twin.native):
                events.wait_until(lambda text: "populated 1" in text)
            events.wait_until(lambda text: "populated 0" in text)


@waiters
def test_every_change_wakes_and_is_quiet_once_it_was_read(twin: Twin, wait: Waiter) -> None:
    with Child(twin.native), opened(twin.mirror / "cgroup.events", wait) as events:
        for frozen in [True, False] * 15:
            freeze(twin.native, frozen=frozen)
            events.wait_until(lambda text, want=f"frozen {int(frozen)}": want in text)  # type: ignore[misc]
        until(lambda: events.read() and not wait(events.fd, 0), "no change is left to report")


@waiters
def test_a_change_is_reported_until_it_is_read(twin: Twin, wait: Waiter) -> None:
    with Child(twin.native), opened(twin.mirror / "cgroup.events", wait) as events:
        freeze(twin.native, frozen=True)
        until(lambda: is_frozen(twin.native), "the cgroup is frozen")
        assert events.wait()
        assert wait(events.fd, 0)
        assert wait(events.fd, 0)
        freeze(twin.native, frozen=False)


def test_a_change_before_the_first_poll_is_reported(twin: Twin) -> None:
    fd = os.open(twin.mirror / "cgroup.events", os.O_RDONLY)
    try:
        assert b"populated 0" in os.pread(fd, 4096, 0)
        with Child(twin.native):
            assert wait_by_epoll(fd, DEADLINE_S)
            assert b"populated 1" in os.pread(fd, 4096, 0)
    finally:
        os.close(fd)


def test_a_file_that_was_not_read_yet_reports_a_change_as_on_cgroup2(twin: Twin) -> None:
    for cgroup in (twin.native, twin.mirror):
        fd = os.open(cgroup / "cgroup.events", os.O_RDONLY)
        try:
            assert wait_by_poll(fd, 0)
        finally:
            os.close(fd)


@pytest.mark.parametrize("name", ["cgroup.events", "cgroup.procs", "cgroup.controllers", "cpu.pressure"])
def test_the_events_of_a_poll_are_those_of_cgroup2(twin: Twin, name: str) -> None:
    everything = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDNORM | select.POLLWRNORM
    answers = []
    for cgroup in (twin.native, twin.mirror):
        fd = os.open(cgroup / name, os.O_RDONLY)
        try:
            poll = select.poll()
            poll.register(fd, everything)
            for _ in range(2):  # the first answer is a matter of what was read before
                events = poll.poll(0)[0][1]
                os.pread(fd, 4096, 0)
            answers.append(events)
        finally:
            os.close(fd)
    assert answers[0] == answers[1]


def wait_and_read(path: Path, wanted: str) -> None:
    with opened(path, wait_by_poll) as events:
        events.wait_until(lambda text: wanted in text)


def test_everybody_who_waits_is_woken(twin: Twin) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child()) for _ in range(8)]
        for child in children:
            child.begin(wait_and_read, twin.mirror / "cgroup.events", "populated 1")
        stack.enter_context(Child(twin.native))
        for child in children:
            child.result()


def test_whoever_reads_a_file_does_not_take_the_change_from_another(twin: Twin) -> None:
    with Child() as waiting, Child() as reading:
        waiting.begin(wait_and_read, twin.mirror / "cgroup.events", "populated 1")
        with Child(twin.native):
            while not waiting.finished():
                reading.call(Path.read_text, twin.mirror / "cgroup.events")
            waiting.result()


def test_a_removed_cgroup_wakes_whoever_waits_as_on_cgroup2(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    for cgroup in (twin.native, twin.mirror):
        (twin.native / "a").mkdir(exist_ok=True)
        until((cgroup / "a").is_dir, "the cgroup is there")
        with opened(cgroup / "a/cgroup.events", wait_by_poll) as events:
            (twin.native / "a").rmdir()
            assert events.wait()
            assert events.wait()
            with pytest.raises(OSError, match="No such device"):
                events.read()


def test_a_pressure_trigger_wakes_whoever_waits(twin: Twin) -> None:
    trigger = os.open(twin.mirror / "cpu.pressure", os.O_RDWR | os.O_NONBLOCK)
    try:
        # Without CAP_SYS_RESOURCE the kernel takes windows of whole two seconds.
        assert os.write(trigger, b"some 10000 2000000\0") == 19
        poll = select.poll()
        poll.register(trigger, select.POLLPRI)
        assert not poll.poll(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(busy_on_one_cpu(twin.native))
            assert poll.poll(DEADLINE_S * 1000) == [(trigger, select.POLLPRI)]
    finally:
        os.close(trigger)


@contextlib.contextmanager
def busy_on_one_cpu(cgroup: Path) -> Iterator[None]:
    """A process in *cgroup* that wants a CPU for itself; all of them want the same one."""

    def prepare() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        (cgroup / "cgroup.procs").write_text("0")

    with subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=prepare) as process:
        try:
            yield
        finally:
            process.kill()


# --- poll on control files ----------------------------------------------------------------------------------------


@waiters
@pytest.mark.parametrize("hook", Hook)
def test_a_filter_set_through_cgfs_wakes_whoever_polls_its_file(twin: Twin, hook: Hook, wait: Waiter) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with programs.program(hook) as prog_fd, opened(path, wait) as control:
        attach(path, prog_fd)
        control.wait_until(lambda text: text == shown(prog_fd))
        path.write_text("none\n")
        control.wait_until(lambda text: text == "none\n")
        until(lambda: control.read() and not wait(control.fd, 0), "no change is left to report")


@pytest.mark.parametrize("hook", Hook)
def test_a_filter_changed_by_others_wakes_whoever_polls_its_file(twin: Twin, hook: Hook) -> None:
    with programs.program(hook) as prog_fd, opened(twin.mirror / CONTROL_FILE[hook], wait_by_poll) as control:
        programs.attach(twin.native, prog_fd, hook)
        control.wait_until(lambda text: text == shown(prog_fd))
        programs.detach(twin.native, hook, prog_fd)
        control.wait_until(lambda text: text == "none\n")


def test_a_filter_of_another_file_or_cgroup_is_no_change(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    until((twin.mirror / "a").is_dir, "the cgroup is there")
    with (
        programs.program(Hook.INGRESS) as prog_fd,
        programs.program(Hook.EGRESS) as other_fd,
        opened(twin.mirror / CONTROL_FILE[Hook.INGRESS], wait_by_poll) as control,
    ):
        attach(twin.mirror / "a" / CONTROL_FILE[Hook.INGRESS], prog_fd)
        attach(twin.mirror / CONTROL_FILE[Hook.EGRESS], other_fd)
        assert not wait_by_poll(control.fd, 0)
