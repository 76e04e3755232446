"""A mirror of a cgroup2 mount that is read-only refuses what that mount refuses."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay
from tests.support.places import public_directory


@pytest.fixture
def read_only_cgroup2() -> Iterator[Path]:
    """cgroup2, mounted once more, read-only."""
    mountpoint = public_directory() / "read-only-cgroup2"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mountpoint], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mountpoint], check=True)
        yield mountpoint
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=True)
        mountpoint.rmdir()


@pytest.mark.parametrize("options", [(), ("nopassthrough",)], ids=["passthrough", "direct"])
def test_opens_for_writing_are_refused_alike(
    start_overlay: StartOverlay, read_only_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, options: tuple[str, ...]
) -> None:
    inside = tmp_cgroup.relative_to(cgroup2)
    with start_overlay(source=read_only_cgroup2, options=options) as overlay:
        for name in ("cgroup.max.depth", "cgroup.procs", "cgroup.subtree_control"):
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                native = _errno_of_open(read_only_cgroup2 / inside / name, flags)
                assert _errno_of_open(overlay.mountpoint / inside / name, flags) == native != 0
        assert (overlay.mountpoint / inside / "cgroup.max.depth").read_text() == "max\n"


def _errno_of_open(path: Path, flags: int) -> int:
    """0 if it can be opened."""
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return error.errno or 0
    return 0
