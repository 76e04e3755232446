"""Cgroups by id, their owners and extended attributes."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import cgroup
from tests.support import cgroups
from tests.support.child import run
from tests.support.users import ALICE, BOB, delegate

XATTR = "trusted.cgfs.test"


@pytest.fixture
def mount_fd(cgroup2: Path) -> Iterator[int]:
    fd = os.open(cgroup2, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def directory_fd(tmp_cgroup: Path) -> Iterator[int]:
    fd = os.open(tmp_cgroup, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_cgroup_is_opened_by_its_id(mount_fd: int, tmp_cgroup: Path) -> None:
    with cgroup.open_cgroup(mount_fd, cgroups.cgroup_id(tmp_cgroup)) as opened:
        assert cgroup.cgroup_id(opened.fd) == cgroups.cgroup_id(tmp_cgroup)
        assert "cgroup.procs" in os.listdir(opened.fd)
        assert not os.get_inheritable(opened.fd)


def test_the_roots_id_opens_the_root(mount_fd: int) -> None:
    with cgroup.open_cgroup(mount_fd, 1) as root:
        assert os.path.sameopenfile(root.fd, mount_fd)


def test_any_directory_of_the_mount_will_do(directory_fd: int, tmp_cgroup: Path) -> None:
    with cgroup.open_cgroup(directory_fd, cgroups.cgroup_id(tmp_cgroup.parent)) as parent:
        assert tmp_cgroup.name in os.listdir(parent.fd)


def test_a_removed_cgroup_is_estale_also_when_its_name_is_back(mount_fd: int, tmp_cgroup: Path) -> None:
    removed = cgroups.cgroup_id(tmp_cgroup)
    tmp_cgroup.rmdir()
    for _ in range(2):
        with pytest.raises(OSError, match=f"with id {removed}") as caught:
            cgroup.open_cgroup(mount_fd, removed)
        assert caught.value.errno == errno.ESTALE
        tmp_cgroup.mkdir(exist_ok=True)
    assert cgroups.cgroup_id(tmp_cgroup) != removed


def test_the_id_of_a_file_is_enotdir(mount_fd: int, tmp_cgroup: Path) -> None:
    with pytest.raises(NotADirectoryError):
        cgroup.open_cgroup(mount_fd, (tmp_cgroup / "cgroup.procs").stat().st_ino)


def test_an_ordinary_user_opens_nothing_by_id(mount_fd: int, tmp_cgroup: Path) -> None:
    with pytest.raises(PermissionError):
        run(lambda: cgroup.open_cgroup(mount_fd, cgroups.cgroup_id(tmp_cgroup)), identity=ALICE)


def test_the_owner_is_whoever_made_the_cgroup_and_not_whom_it_was_given(tmp_cgroup: Path) -> None:
    delegate(tmp_cgroup, BOB.uid, BOB.gid)
    run(lambda: (tmp_cgroup / "bobs").mkdir(), identity=BOB)
    for path, owner in ((tmp_cgroup, cgroup.Owner(0, 0)), (tmp_cgroup / "bobs", cgroup.Owner(BOB.uid, BOB.gid))):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert cgroup.controllers_owner(fd) == owner
        finally:
            os.close(fd)


def test_the_owner_of_a_removed_cgroup_is_enodev(tmp_cgroup: Path, directory_fd: int) -> None:
    tmp_cgroup.rmdir()
    with pytest.raises(OSError, match="has been removed") as caught:
        cgroup.controllers_owner(directory_fd)
    assert caught.value.errno == errno.ENODEV


def test_extended_attributes_are_set_read_and_removed(directory_fd: int, tmp_cgroup: Path) -> None:
    assert cgroup.get_xattr(directory_fd, XATTR) is None
    for value in (b"one", b"", b"\0\xff" * 100):
        cgroup.set_xattr(directory_fd, XATTR, value)
        assert cgroup.get_xattr(directory_fd, XATTR) == os.getxattr(tmp_cgroup, XATTR) == value
    cgroup.remove_xattr(directory_fd, XATTR)
    cgroup.remove_xattr(directory_fd, XATTR)
    assert cgroup.get_xattr(directory_fd, XATTR) is None


def test_a_delegate_cannot_set_a_trusted_attribute(tmp_cgroup: Path, directory_fd: int) -> None:
    delegate(tmp_cgroup, ALICE.uid, ALICE.gid)
    cgroup.set_xattr(directory_fd, XATTR, b"root's")
    for act in (
        lambda: cgroup.set_xattr(directory_fd, XATTR, b"alice's"),
        lambda: cgroup.remove_xattr(directory_fd, XATTR),
    ):
        with pytest.raises(PermissionError):
            run(act, identity=ALICE)
    assert cgroup.get_xattr(directory_fd, XATTR) == b"root's"
