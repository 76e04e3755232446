"""A new row of the table is all that a new control file needs: here one for bind(2) of IPv4 sockets."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpf
from tests.support import control
from tests.support.child import run
from tests.support.control import NONRECURSIVE, OVERRIDABLE, error_of
from tests.support.daemon import is_overlay
from tests.support.places import public_directory
from tests.support.programs import DENY, return_value
from tests.support.watchdog import Watchdog, abort_mount

CGFS_WITH_THE_ROW = """
from cgfs import control
from cgfs.bpf import AttachType, ProgType

row = control.ControlFile("net.bind_filter", AttachType.CGROUP_INET4_BIND, ProgType.CGROUP_SOCK_ADDR, "bind")
control.CONTROL_FILES += (row,)

from cgfs.cli import main

main()
"""


def cgfs(*arguments: str | Path) -> str:
    """What that command prints."""
    command = [sys.executable, "-c", CGFS_WITH_THE_ROW, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def mirror(tmp_cgroup: Path, watchdog: Watchdog) -> Iterator[Path]:
    """A mirror of a fresh cgroup with that row."""
    mountpoint = public_directory() / "another-row"
    mountpoint.mkdir()
    watchdog.guard(mountpoint)
    try:
        cgfs("mount", tmp_cgroup, mountpoint)
        yield mountpoint
        cgfs("umount", mountpoint)
    finally:
        while is_overlay(mountpoint):
            abort_mount(mountpoint)
        watchdog.release(mountpoint)


@pytest.fixture
def deny() -> Iterator[bpf.Program]:
    hook = bpf.AttachType.CGROUP_INET4_BIND
    code = return_value(DENY)
    with bpf.Program.load(bpf.ProgType.CGROUP_SOCK_ADDR, code, name="deny", expected_attach_type=hook) as program:
        yield program


def bind() -> int:
    with socket.socket() as sock:
        return error_of(lambda: sock.bind(("127.0.0.1", 0)))


def test_a_program_is_attached_shown_and_detached(mirror: Path, tmp_cgroup: Path, deny: bpf.Program) -> None:
    file = mirror / "net.bind_filter"
    assert file.read_text() == "none\n"
    control.attach(file, deny.fd)
    assert file.read_text() == control.shown(deny.fd)
    assert run(bind, cgroup=tmp_cgroup) == errno.EPERM
    assert file.name in cgfs("show", mirror)
    file.write_text("none")
    assert run(bind, cgroup=tmp_cgroup) == 0


def test_it_is_a_checkpoint_of_itself(mirror: Path, deny: bpf.Program, tmp_path: Path) -> None:
    file = mirror / "net.bind_filter"
    control.attach(file, deny.fd, OVERRIDABLE)
    shown = file.read_text()
    assert shown.startswith("bpf(overridable):")
    saved = tmp_path / "saved"
    saved.write_text(cgfs("save", mirror))
    file.write_text("none")
    cgfs("restore", saved, mirror)
    assert file.read_text() == shown
    cgfs("detach", mirror, "cgroup_inet4_bind")
    assert file.read_text() == "none\n"


def test_what_the_row_does_not_say_is_refused(mirror: Path, deny: bpf.Program) -> None:
    """No guard knows whose socket this hook judges, and no text is a filter for it."""
    file = mirror / "net.bind_filter"
    assert error_of(lambda: control.attach(file, deny.fd, NONRECURSIVE)) == errno.EOPNOTSUPP
    assert error_of(lambda: file.write_text("families:inet")) == errno.EINVAL
    assert error_of(lambda: file.write_text("cbpf:1,6 0 0 1")) == errno.EINVAL
    assert error_of(lambda: control.attach(mirror / "net.egress_filter", deny.fd)) == errno.EINVAL
    assert {file.read_text() for file in mirror.glob("net.*")} == {"none\n"}
    assert sorted(name for name in os.listdir(mirror) if name.endswith("_filter"))[0] == "net.bind_filter"
