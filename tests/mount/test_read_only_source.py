"""A mirror of a cgroup2 mount that is read-only refuses what that mount refuses."""

import errno
import fcntl
import os
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cgfs.abi import IOC_ATTACH, Attach
from cgfs.control import Mode
from tests.mount.conftest import StartOverlay
from tests.support.control import attach, error_of, shown
from tests.support.places import public_directory
from tests.support.programs import CONTROL_FILE, Hook, program

both = pytest.mark.parametrize("options", [(), ("nopassthrough",)], ids=["passthrough", "direct"])


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


@both
def test_opens_for_writing_are_refused_alike(
    start_overlay: StartOverlay, another_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, options: tuple[str, ...]
) -> None:
    inside = tmp_cgroup.relative_to(cgroup2)
    make_read_only(another_cgroup2)
    with start_overlay(source=another_cgroup2, options=options) as overlay:
        for name in ("cgroup.max.depth", "cgroup.procs", "cgroup.subtree_control"):
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                for top in (another_cgroup2, overlay.mountpoint):
                    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
                        _open(top / inside / name, flags)
        assert (overlay.mountpoint / inside / "cgroup.max.depth").read_text() == "max\n"


@both
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
        lambda path: os.link(path / "cgroup.procs", path / "missing"),
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


@both
def test_what_is_made_writable_later_is_so_at_once(
    start_overlay: StartOverlay, another_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, options: tuple[str, ...]
) -> None:
    inside = tmp_cgroup.relative_to(cgroup2)
    acts: list[Callable[[Path], object]] = [
        lambda path: (path / "new").mkdir(),
        lambda path: (path / "cgroup.procs").chmod(0o600),
        lambda path: os.setxattr(path, "user.x", b"1"),
        *[
            lambda path, name=name, flags=flags: _open(path / name, flags)
            for name in ("cgroup.max.depth", "cgroup.procs", "cgroup.pressure", "cgroup.type", "cpu.pressure")
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC)
        ],
    ]
    make_read_only(another_cgroup2)
    with start_overlay(source=another_cgroup2, options=options) as overlay:
        for act in acts:
            assert error_of(lambda act=act: act(overlay.mountpoint / inside)) == errno.EROFS  # type: ignore[misc]
        make_writable(another_cgroup2)
        for act in acts:
            act(overlay.mountpoint / inside)
        assert (overlay.mountpoint / inside / "cgroup.max.depth").write_text("7")
        (overlay.mountpoint / inside / "cgroup.pressure").write_text("0")
        assert not (overlay.mountpoint / inside / "cpu.pressure").exists()


@pytest.mark.parametrize("hook", Hook)
def test_a_filter_is_changed_where_the_source_is_writable(
    start_overlay: StartOverlay, another_cgroup2: Path, tmp_cgroup: Path, cgroup2: Path, hook: Hook
) -> None:
    with start_overlay(source=another_cgroup2) as overlay, program(hook) as prog_fd:
        path = overlay.mountpoint / tmp_cgroup.relative_to(cgroup2) / CONTROL_FILE[hook]
        attach(path, prog_fd)
        with path.open("r+b", buffering=0) as before:
            make_read_only(another_cgroup2)
            for act in (
                lambda: path.write_text("none"),
                lambda: attach(path, prog_fd),
                lambda: path.chmod(0o600),
                lambda: before.write(b"none"),
                lambda: before.write(b"nonrecursive"),
                lambda: fcntl.ioctl(before, IOC_ATTACH, Attach(prog_fd, Mode.DEFAULT).pack()),
            ):
                assert error_of(act) == errno.EROFS
            assert error_of(lambda: fcntl.ioctl(before, termios.TCGETS, bytes(64))) == errno.ENOTTY
        assert path.read_text() == shown(prog_fd)
        make_writable(another_cgroup2)
        path.chmod(0o600)
        path.write_text("none")
        assert path.read_text() == "none\n"


def make_read_only(mountpoint: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", mountpoint], check=True)


def make_writable(mountpoint: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,rw", mountpoint], check=True)


def _open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags))
