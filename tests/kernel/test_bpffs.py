"""The bpf file system for pins: one mount, root's, that outlives whoever made it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpffs
from cgfs.bpf import Program, ProgType
from tests.support.child import Child, run
from tests.support.programs import return_value
from tests.support.syscalls import umount
from tests.support.users import ALICE


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bpf"
    yield path
    while mounts_at(path):
        umount(str(path))


def mounts_at(path: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="ascii").splitlines()
    return [line for line in lines if line.split()[4] == str(path)]


def test_the_file_system_is_mounted_once_and_roots_alone(mountpoint: Path) -> None:
    for name in ("arrays", "programs", "arrays"):
        directory = bpffs.directory(name, mountpoint)
        assert directory == mountpoint / name
        assert directory.stat().st_mode & 0o7777 == 0o700
    (mount,) = mounts_at(mountpoint)
    assert mount.partition(" - ")[2].startswith("bpf ")
    assert {"nosuid", "nodev", "noexec"} <= set(mount.split()[5].split(","))
    assert mountpoint.stat().st_mode & 0o777 == 0o700
    assert mountpoint.stat().st_uid == 0


def test_a_pin_outlives_the_process_that_made_it(mountpoint: Path) -> None:
    def pin() -> str:
        with Program.load(ProgType.CGROUP_SKB, return_value(1), name="kept") as program:
            program.pin(bpffs.directory("programs", mountpoint) / "kept")
            return program.info().tag

    tag = run(pin)
    with Program.pinned(bpffs.directory("programs", mountpoint) / "kept") as program:
        assert program.info().tag == tag


def test_many_at_once_mount_it_once(mountpoint: Path) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child()) for _ in range(8)]
        for child in children:
            child.begin(bpffs.directory, "arrays", mountpoint)
        assert {child.result() for child in children} == {mountpoint / "arrays"}
    assert len(mounts_at(mountpoint)) == 1


def test_a_directory_of_somebody_elses_is_refused(mountpoint: Path) -> None:
    mountpoint.mkdir()
    for uid, mode in ((ALICE.uid, 0o700), (0, 0o770), (0, 0o702)):
        os.chown(mountpoint, uid, 0)
        mountpoint.chmod(mode)
        with pytest.raises(PermissionError, match="has to be root's"):
            bpffs.directory("arrays", mountpoint)
    assert not mounts_at(mountpoint)


def test_a_symbolic_link_is_not_followed(mountpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    mountpoint.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        bpffs.directory("arrays", mountpoint)
    assert not mounts_at(tmp_path / "elsewhere")


def test_an_ordinary_user_cannot_reach_a_pin(mountpoint: Path, tmp_path: Path) -> None:
    directory = bpffs.directory("arrays", mountpoint)
    with pytest.raises(PermissionError):
        run(lambda: os.listdir(directory), identity=ALICE)
