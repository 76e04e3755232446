"""What was said of a control file is said again only while it is true, whoever changes what, and how fast."""

import os
import stat
import struct
from pathlib import Path

import pytest

from cgfs import control as control_files
from cgfs.attached import observe
from tests.kernel.test_filters import target_of
from tests.mount.conftest import Twin
from tests.support import control, programs
from tests.support.programs import ALLOW_OVERRIDE, CONTROL_FILE, Hook, program
from tests.support.waiting import until

_LINK_UPDATE = 29  # include/uapi/linux/bpf.h

every_hook = pytest.mark.parametrize("hook", Hook)


def says(path: Path, *prog_fds: int) -> bool:
    """Whether the file says that these programs are attached, to all who ask, twice: the second time it is known."""
    expected = "".join(map(control.shown, prog_fds)) or "none\n"
    return all(path.stat().st_size == len(expected) and path.read_text() == expected for _ in range(2))


@every_hook
def test_each_foreign_change_is_seen_at_once(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as first, program(hook, salt=1) as second:
        for _ in range(10):
            assert says(path)
            programs.attach(twin.native, first, hook)
            assert says(path, first)
            programs.attach(twin.native, second, hook)
            assert says(path, first, second)
            programs.detach(twin.native, hook, first)
            assert says(path, second)
            programs.detach(twin.native, hook, second)


@every_hook
def test_the_order_is_right_when_something_changes_above(twin: Twin, hook: Hook) -> None:
    """In the inner cgroup one runs first (BPF_F_PREORDER), which is certain once it is not attached above, too."""
    preorder = programs.ALLOW_MULTI | programs.PREORDER
    inner = twin.native / "inner"
    inner.mkdir()
    path = twin.mirror / "inner" / CONTROL_FILE[hook]
    with program(hook) as first, program(hook, salt=1) as second, program(hook, salt=2) as third:
        programs.attach(twin.native, first, hook)
        for prog_fd, flags in ((second, programs.ALLOW_MULTI), (third, programs.ALLOW_MULTI), (first, preorder)):
            programs.attach(inner, prog_fd, hook, flags)
        assert path.read_text().count("\n") == 3
        programs.detach(twin.native, hook, first)
        assert says(path, first, second, third)


@every_hook
def test_the_change_and_the_end_of_a_link_are_seen_at_once(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as first, program(hook, salt=1) as second:
        with programs.link(twin.native, first, hook) as link_fd:
            assert says(path, first)
            programs.bpf(_LINK_UPDATE, struct.pack("<IIII", link_fd, second, 0, 0))
            assert says(path, second)
        until(lambda: not programs.query(twin.native, hook).program_ids, "the kernel has let the link go")
        assert says(path)


def test_the_mode_of_what_is_attached_is_seen_at_once(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with program(Hook.EGRESS) as prog_fd:
        for _ in range(3):
            programs.attach(twin.native, prog_fd, Hook.EGRESS)
            assert says(path, prog_fd)
            programs.detach(twin.native, Hook.EGRESS, prog_fd)
            programs.attach(twin.native, prog_fd, Hook.EGRESS, ALLOW_OVERRIDE)
            assert path.read_text() == control.shown(prog_fd).replace("bpf:", "bpf(overridable):")
            programs.detach(twin.native, Hook.EGRESS, prog_fd)


def test_what_comes_through_the_file_is_seen_at_once(twin: Twin) -> None:
    """Each of these writes replaces the filter, so that only the note says what the program is."""
    path = twin.mirror / CONTROL_FILE[Hook.SOCKET_CREATE]
    texts = ["families:inet", "families(nonrecursive):inet", "families:inet,inet6", "none"]
    for text in texts * 3:
        path.write_text(text)
        for _ in range(2):
            assert path.read_text() == f"{text}\n"
            assert path.stat().st_size == len(text) + 1


def test_what_a_guard_runs_is_seen_at_once(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with program(Hook.EGRESS) as first, program(Hook.EGRESS, salt=1) as second:
        for prog_fd in (first, second, first):
            control.attach(path, prog_fd, control.NONRECURSIVE)
            for _ in range(2):
                assert path.read_text() == control.shown(prog_fd).replace("bpf:", "bpf(nonrecursive):")


def test_a_file_that_nobody_has_touched_has_the_time_that_others_have(twin: Twin) -> None:
    """The mirror says it by itself; with a note it asks, and only the note's time is later."""
    path = twin.mirror / CONTROL_FILE[Hook.SOCKET_CREATE]
    with target_of(twin.native, control_files.by_name(path.name)) as target:
        assert path.stat().st_mtime_ns == path.stat().st_ctime_ns == observe(target).changed_at_ns
        path.chmod(0o600)
        assert path.stat().st_mtime_ns == observe(target).changed_at_ns < path.stat().st_ctime_ns


@pytest.mark.parametrize("text", ["none", "families:inet"])
def test_owner_and_mode_are_seen_at_once(twin: Twin, text: str) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.SOCKET_CREATE]
    path.write_text(text)
    for uid, mode in ((1001, 0o600), (1002, 0o640), (1001, 0o600)):
        os.chown(twin.native / "cgroup.controllers", uid, uid)
        assert (path.stat().st_uid, path.stat().st_gid) == (uid, uid)
        path.chmod(mode)
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == mode
    os.chown(path, 1003, 1004)
    os.chown(twin.native / "cgroup.controllers", 0, 0)
    assert (path.stat().st_uid, path.stat().st_gid) == (1003, 1004)


def test_the_time_of_modification_changes_with_each_change(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    times = [path.stat().st_mtime_ns]
    with program(Hook.EGRESS) as prog_fd:
        for _ in range(3):
            programs.attach(twin.native, prog_fd, Hook.EGRESS)
            times += [path.stat().st_mtime_ns, path.stat().st_mtime_ns]
            programs.detach(twin.native, Hook.EGRESS, prog_fd)
            times.append(path.stat().st_mtime_ns)
    assert len(set(times)) == 7


def test_a_removed_cgroup_is_gone_at_once_and_its_successor_knows_nothing(twin: Twin) -> None:
    child = twin.mirror / "child"
    path = child / CONTROL_FILE[Hook.SOCKET_CREATE]
    for _ in range(3):
        child.mkdir()
        assert path.read_text() == "none\n"
        path.write_text("families:inet")
        assert path.read_text() == "families:inet\n"
        (twin.native / "child").rmdir()
        until(lambda: not path.exists(), "the mirror has heard of it")
