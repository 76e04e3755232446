"""Which mirror is meant when none is named."""

import errno
from pathlib import Path

import pytest

from cgfs import hierarchy, mountinfo


def mirror_at(mountpoint: str) -> mountinfo.Mount:
    return mountinfo.parse_line(f"44 27 0:39 / {mountpoint} rw - fuse.cgfs /sys/fs/cgroup rw")


def set_mirrors(monkeypatch: pytest.MonkeyPatch, *mountpoints: str) -> None:
    monkeypatch.setattr(mountinfo, "mirrors", lambda: [mirror_at(mountpoint) for mountpoint in mountpoints])


def test_the_only_mirror_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_mirrors(monkeypatch, "/run/cgfs")
    assert hierarchy.only_mirror() == Path("/run/cgfs")


def test_a_mirror_that_is_mounted_twice_at_one_place_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_mirrors(monkeypatch, "/run/cgfs", "/run/cgfs")
    assert hierarchy.only_mirror() == Path("/run/cgfs")


def test_several_mirrors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_mirrors(monkeypatch, "/run/b", "/run/a")
    with pytest.raises(OSError, match="name one: /run/a, /run/b") as caught:
        hierarchy.only_mirror()
    assert caught.value.errno == errno.EINVAL


def test_without_a_mirror_the_way_to_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    set_mirrors(monkeypatch)
    with pytest.raises(OSError, match="`cgfs mount DIR`") as caught:
        hierarchy.only_mirror()
    assert caught.value.errno == errno.ENOENT
