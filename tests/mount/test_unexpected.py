"""An error that nobody has thought of: EIO for that request, a line in the log, and everything goes on."""

import errno
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import control, programs
from tests.support.control import error_of, opened
from tests.support.daemon import Overlay
from tests.support.programs import CONTROL_FILE, Hook, program

EGRESS = CONTROL_FILE[Hook.EGRESS]

BROKEN = """
import os
import cgfs.cgroup

def broken(mount_fd, id_, real=cgfs.cgroup.open_cgroup):
    if os.path.exists({marker!r}):
        raise ZeroDivisionError("surprise")
    return real(mount_fd, id_)

cgfs.cgroup.open_cgroup = broken
"""
"""Python runs this before the daemon: every request that opens a cgroup's directory fails while *marker* is there."""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "broken"


@pytest.fixture
def overlay(start_overlay: StartOverlay, tmp_path: Path, marker: Path) -> Iterator[Overlay]:
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(marker=str(marker)))
    with start_overlay(environment={"PYTHONPATH": str(tmp_path)}) as started:
        yield started


def test_it_is_eio_for_that_request_and_takes_nothing_down(overlay: Overlay, twin: Twin, marker: Path) -> None:
    path = twin.mirror / EGRESS
    overlay.expect_in_log(r"ERROR \w+ of a control file|Traceback")
    with program(Hook.EGRESS) as prog_fd, program(Hook.EGRESS, salt=1) as other, opened(path, os.O_RDWR) as fd:
        control.attach_fd(fd, prog_fd)
        marker.touch()
        for act in (
            path.stat,
            partial(os.fstat, fd),
            partial(os.pread, fd, 100, 0),
            partial(os.write, fd, b"none"),
            partial(control.attach_fd, fd, prog_fd),
            partial(os.fchmod, fd, 0o600),
            path.read_text,
        ):
            # What was said before is asked anew only after a change.
            programs.attach(twin.native, other, Hook.EGRESS)
            assert error_of(act) == errno.EIO
            programs.detach(twin.native, Hook.EGRESS, other)
        (twin.mirror / "cgroup.procs").read_text()
        marker.unlink()
        assert path.read_text() == control.shown(prog_fd)
        assert os.write(fd, b"none") == 4
    assert path.read_text() == "none\n"
    for what in ("snapshot", "write", "setattr", "ioctl"):
        assert f"ERROR {what} of a control file" in overlay.log()
    assert "ZeroDivisionError: surprise" in overlay.log()
