"""Owner and mode of a control file: what is kept where, beside what the kernel gave."""

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import attributes
from cgfs.attributes import Attributes
from cgfs.caller import Capability, Credentials
from cgfs.control import CONTROL_FILES, by_hook

FILE = by_hook("egress")
XATTR = f"trusted.cgfs.{FILE.name}.attributes"


def who(uid: int, *capabilities: Capability, groups: tuple[int, ...] = ()) -> Credentials:
    return Credentials(uid, uid, 1, "test", frozenset(capabilities), struct.pack(f"={len(groups)}I", *groups))


ROOT = who(0, *Capability)


@pytest.fixture
def cgroup_fd(tmp_cgroup: Path) -> Iterator[int]:
    fd = os.open(tmp_cgroup, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(cgroup_fd: int) -> Attributes:
    return attributes.read(cgroup_fd, FILE)


def change(cgroup_fd: int, by: Credentials, **wanted: int) -> None:
    attributes.change(cgroup_fd, FILE, by, **wanted)


def test_nothing_is_kept_until_something_is_changed(cgroup_fd: int) -> None:
    assert read(cgroup_fd) == Attributes(0, 0, 0o644, 0)
    assert os.listxattr(cgroup_fd) == []


def test_only_what_was_changed_is_kept(cgroup_fd: int, tmp_cgroup: Path) -> None:
    change(cgroup_fd, ROOT, mode=0o600)
    os.chown(tmp_cgroup / "cgroup.controllers", 1000, 1001)
    found = read(cgroup_fd)
    assert (found.uid, found.gid, found.mode) == (1000, 1001, 0o600)
    change(cgroup_fd, ROOT, gid=1002)
    os.chown(tmp_cgroup / "cgroup.controllers", 0, 0)
    found = read(cgroup_fd)
    assert (found.uid, found.gid, found.mode) == (0, 1002, 0o600)
    assert found.changed_at_ns > 0


def test_each_file_has_its_own(cgroup_fd: int) -> None:
    change(cgroup_fd, ROOT, mode=0o600)
    assert [attributes.read(cgroup_fd, file).mode for file in CONTROL_FILES if file != FILE] == [0o644] * 2


def test_bits_that_mean_nothing_are_not_kept(cgroup_fd: int) -> None:
    change(cgroup_fd, ROOT, mode=0o107755)
    assert read(cgroup_fd).mode == 0o755


NO_JSON = [b"", b"{", b"[]", b"null", b"7", b'{"uid": "x"}', b'{"mode": null}', b"\xff"]
UNHEARD_OF = [b"[" * 4000, b'{"uid": Infinity}', b'{"uid": -1}', b'{"gid": 4294967295}', b'{"mode": 65535}']


@pytest.mark.parametrize("data", [*NO_JSON, *UNHEARD_OF])
def test_what_makes_no_sense_is_as_if_nothing_was_kept(cgroup_fd: int, data: bytes) -> None:
    os.setxattr(cgroup_fd, XATTR, data)
    assert read(cgroup_fd) == Attributes(0, 0, 0o644, 0)
    change(cgroup_fd, ROOT, mode=0o600)
    assert read(cgroup_fd).mode == 0o600


REFUSED = [
    (who(1001), {"mode": 0o666}),
    (who(1001), {"uid": 1001}),
    (who(1001), {"gid": 1001}),
    (who(1000), {"uid": 1001}),
    (who(1000), {"gid": 1001}),
    (who(0), {"mode": 0o666}),
    (who(0), {"uid": 0}),
    (who(1001, Capability.CHOWN), {"mode": 0o666}),
    (who(1001, Capability.FOWNER), {"uid": 1001}),
    (who(1001, Capability.NET_ADMIN, Capability.DAC_OVERRIDE), {"mode": 0o666}),
    (who(1000), {"mode": 0o666, "uid": 1001}),
]
ALLOWED = [
    (who(1000), {"mode": 0o600}),
    (who(1000), {"uid": 1000}),
    (who(1000), {"gid": 1000}),
    (who(1000, groups=(1001,)), {"gid": 1001}),
    (who(1001, Capability.CHOWN), {"uid": 1001, "gid": 1002}),
    (who(1001, Capability.FOWNER), {"mode": 0o600}),
    (who(0, *Capability), {"mode": 0o600, "uid": 1001, "gid": 1002}),
]


@pytest.mark.parametrize(("by", "wanted"), REFUSED)
def test_who_may_not_is_eperm_and_changes_nothing(cgroup_fd: int, by: Credentials, wanted: dict[str, int]) -> None:
    change(cgroup_fd, ROOT, uid=1000, gid=1000)
    before = read(cgroup_fd)
    with pytest.raises(PermissionError) as caught:
        change(cgroup_fd, by, **wanted)
    assert caught.value.errno == errno.EPERM
    assert read(cgroup_fd) == before


@pytest.mark.parametrize(("by", "wanted"), ALLOWED)
def test_who_may_changes_what_was_asked_for(cgroup_fd: int, by: Credentials, wanted: dict[str, int]) -> None:
    change(cgroup_fd, ROOT, uid=1000, gid=1000)
    change(cgroup_fd, by, **wanted)
    found = read(cgroup_fd)
    assert {"uid": found.uid, "gid": found.gid, "mode": found.mode} == {
        "uid": 1000,
        "gid": 1000,
        "mode": 0o644,
    } | wanted


def test_a_removed_cgroup_is_enodev(cgroup_fd: int, tmp_cgroup: Path) -> None:
    tmp_cgroup.rmdir()
    for act in (lambda: read(cgroup_fd), lambda: change(cgroup_fd, ROOT, mode=0o600)):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.ENODEV
