"""cgfs/mountinfo.py on lines as the kernel writes them, and on this machine's own."""

import os
from pathlib import Path

import pytest

from cgfs import mountinfo
from tests.support.cgroups import cgroup2_mount

LINE = r"41 31 0:38 / /sys/fs/cgroup/my\040own\134\012 rw shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate"


def test_a_line_is_read_field_by_field() -> None:
    mount = mountinfo.parse_line(LINE)
    assert (mount.mount_id, mount.parent_id, mount.device) == (41, 31, os.makedev(0, 38))
    assert (mount.root, mount.fstype, mount.source) == ("/", "cgroup2", "cgroup2")


def test_escaped_characters_of_a_mount_point_are_put_back() -> None:
    assert mountinfo.parse_line(LINE).mountpoint == Path("/sys/fs/cgroup/my own\\\n")


def test_a_source_of_no_name_is_read() -> None:
    assert mountinfo.parse_line("41 31 0:38 / /mnt rw - fuse.cgfs  rw").source == ""


def test_only_root_s_fuse_cgfs_is_a_mirror() -> None:
    assert mountinfo.parse_line("41 31 0:38 / /mnt rw - fuse.cgfs cgfs rw,user_id=0,group_id=0").is_mirror
    assert not mountinfo.parse_line("41 31 0:38 / /mnt rw - fuse.cgfs cgfs rw,user_id=1000,group_id=0").is_mirror
    assert not mountinfo.parse_line("41 31 0:38 / /mnt rw - fuse.sshfs cgfs rw,user_id=0").is_mirror


def test_the_root_has_a_mount_and_its_device_is_st_dev() -> None:
    mount = mountinfo.mount_at(Path("/"))
    assert mount is not None
    assert mount.device == Path("/").stat().st_dev


def test_nothing_is_mounted_where_nothing_is_mounted(tmp_path: Path) -> None:
    assert mountinfo.mount_at(tmp_path) is None


def test_cgroup2_is_found_and_known_as_such() -> None:
    assert mountinfo.cgroup2_mount() == cgroup2_mount()
    assert mountinfo.is_cgroup2(mountinfo.cgroup2_mount())
    assert not mountinfo.is_cgroup2(Path("/proc"))


def test_links_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    monkeypatch.chdir(tmp_path)
    target = Path(os.path.realpath(tmp_path)) / "directory"
    for spelling in ("link", "./directory/", "directory/.", "directory/../link", str(target)):
        assert mountinfo.without_links(Path(spelling)) == target
    monkeypatch.chdir(target)
    assert mountinfo.without_links(Path()) == target


def test_a_mount_point_is_named_by_a_link_above_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    assert mountinfo.without_links(tmp_path / "link" / "proc") == Path("/proc")
