"""A mirror of a cgroup2 mount that is read-only refuses what that mount refuses."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay
from tests.support.places import public_directory


@pytest.fixture
def another_cgroup2() -> Iterator[Path]:
    """cgroup2, mounted once more."""
    mountpoint = public_directory() / "read-only-cgroup2"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=True)
        mountpoint.rmdir()


@pytest.mark.parametrize("options", [(), ("nopassthrough",)], ids=["passthrough", "direct"])
def test_opens_for_writing_are_refused_alike(
    start_overlay: StartOverlay, another_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, options: tuple[str, ...]
) -> None:
    inside = tmp_cgroup.relative_to(cgroup2)
    make_read_only(another_cgroup2)
    with start_overlay(source=another_cgroup2, options=options) as overlay:
        for name in ("cgroup.max.depth", "cgroup.procs", "cgroup.subtree_control"):
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                native = _errno_of_open(another_cgroup2 / inside / name, flags)
                assert _errno_of_open(overlay.mountpoint / inside / name, flags) == native != 0
        assert (overlay.mountpoint / inside / "cgroup.max.depth").read_text() == "max\n"


@pytest.mark.parametrize("options", [(), ("nopassthrough",)], ids=["passthrough", "direct"])
def test_what_is_made_read_only_later_is_so_at_once(
    start_overlay: StartOverlay, another_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, options: tuple[str, ...]
) -> None:
    inside = tmp_cgroup.relative_to(cgroup2)
    (tmp_cgroup / "below").mkdir()
    acts: list[Callable[[Path], object]] = [
        lambda path: (path / "new").mkdir(),
        lambda path: (path / "below").rmdir(),
        lambda path: (path / "cgroup.procs").chmod(0o600),
        lambda path: os.chown(path, 1, 1),
        lambda path: os.setxattr(path, "user.x", b"1"),
        lambda path: os.removexattr(path, "user.x"),
        lambda path: (path / "cgroup.max.depth").write_text("5"),
        lambda path: _open(path / "cgroup.max.depth", os.O_WRONLY),
        lambda path: _open(path / "cgroup.procs", os.O_RDWR),
        lambda path: _open(path / "missing", os.O_WRONLY | os.O_CREAT),
        lambda path: os.mkfifo(path / "missing"),
        lambda path: (path / "missing").symlink_to("there"),
        lambda path: (path / "cgroup.procs").unlink(),
        lambda path: (path / "below").rename(path / "missing"),
    ]
    with start_overlay(source=another_cgroup2, options=options) as overlay:
        for _ in range(2):
            assert (overlay.mountpoint / inside / "cgroup.max.depth").write_text("7")
        make_read_only(another_cgroup2)
        for act in acts:
            for top in (another_cgroup2, overlay.mountpoint):
                with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
                    act(top / inside)
        assert (overlay.mountpoint / inside / "cgroup.max.depth").read_text() == "7\n"


def make_read_only(mountpoint: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", mountpoint], check=True)


def _open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags))


def _errno_of_open(path: Path, flags: int) -> int:
    """0 if it can be opened."""
    try:
        _open(path, flags)
    except OSError as error:
        return error.errno or 0
    return 0
