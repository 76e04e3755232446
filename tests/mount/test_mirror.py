"""What the mirror is as a mount, and what it has that cgroup2 has not; the rest is compared act by act."""

import os
import stat
from pathlib import Path

import pytest

from tests.mount.conftest import Twin
from tests.support.cgroups import cgroup_id, processes
from tests.support.child import Child, run
from tests.support.daemon import Overlay, mount_of
from tests.support.programs import CONTROL_FILE
from tests.support.syscalls import MS_BIND, mount, umount
from tests.support.users import ALICE

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])

CONTROL_FILES = set(CONTROL_FILE.values())


def test_the_mount_is_of_type_fuse_cgfs_and_always_nosuid_nodev_noexec(overlay: Overlay) -> None:
    line = mount_of(overlay.mountpoint)
    assert line is not None
    mount_options, (kind, name, fuse_options) = line.split()[5].split(","), line.partition(" - ")[2].split()
    assert kind == "fuse.cgfs"
    assert name == str(overlay.source)
    assert {"nosuid", "nodev", "noexec"} <= set(mount_options)
    assert {"allow_other", "default_permissions"} <= set(fuse_options.split(","))


def test_the_root_is_the_root_of_cgroup2(overlay: Overlay, cgroup2: Path) -> None:
    mirrored = set(os.listdir(overlay.mountpoint))
    assert mirrored >= CONTROL_FILES
    assert (overlay.mountpoint / "cgroup.controllers").read_text() == (cgroup2 / "cgroup.controllers").read_text()
    assert overlay.mountpoint.stat().st_ino == 1


def test_every_directory_has_the_control_files_once_and_what_cgroup2_has(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    for native, mirror in ((twin.native, twin.mirror), (twin.native / "a", twin.mirror / "a")):
        names = os.listdir(mirror)
        assert len(names) == len(set(names))
        assert set(names) - CONTROL_FILES == set(os.listdir(native))


def test_inode_numbers_are_those_of_cgroup2(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    assert cgroup_id(twin.mirror / "a") == cgroup_id(twin.native / "a")
    with os.scandir(twin.mirror) as entries:
        listed = {entry.name: entry.inode() for entry in entries}
    assert listed == {name: (twin.mirror / name).stat().st_ino for name in listed}
    assert len(set(listed.values())) == len(listed)


def test_a_control_file_is_a_regular_file_with_the_length_of_its_content(twin: Twin) -> None:
    for name in CONTROL_FILES:
        found = (twin.mirror / name).stat()
        assert stat.S_ISREG(found.st_mode)
        assert found.st_mode & 0o7777 == 0o644
        assert found.st_size == len("none\n")
        assert found.st_nlink == 1
        assert (twin.mirror / name).read_text() == "none\n"


@pytest.mark.parametrize("name", sorted(CONTROL_FILES))
def test_control_files_cannot_be_made_removed_or_renamed(twin: Twin, name: str) -> None:
    with pytest.raises(PermissionError):
        (twin.mirror / name).unlink()
    with pytest.raises(FileExistsError):
        (twin.mirror / name).mkdir()
    with pytest.raises(FileExistsError):
        os.close(os.open(twin.mirror / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with pytest.raises(PermissionError):
        (twin.mirror / name).rename(twin.mirror / "other")
    with pytest.raises(PermissionError):
        os.link(twin.mirror / name, twin.mirror / "other")
    with pytest.raises(NotADirectoryError):
        (twin.mirror / name).rmdir()
    assert (twin.mirror / name).read_text() == "none\n"


def test_a_cgroup_is_removed_with_its_control_files_in_it(twin: Twin) -> None:
    (twin.mirror / "a").mkdir()
    assert set(os.listdir(twin.mirror / "a")) >= CONTROL_FILES
    (twin.mirror / "a").rmdir()
    assert not (twin.native / "a").exists()
    assert not (twin.mirror / "a").exists()


def test_what_is_mounted_on_a_directory_of_cgroup2_does_not_show(twin: Twin) -> None:
    covered, mirrored = twin.native / "covered", twin.mirror / "covered"
    covered.mkdir()
    (twin.native / "other").mkdir()
    own = cgroup_id(covered)
    for source in (twin.native / "other", Path("/proc")):
        mount(str(source), str(covered), None, MS_BIND)
        try:
            assert covered.stat().st_ino == source.stat().st_ino != own == cgroup_id(mirrored)
            (mirrored / "inner").mkdir()
            assert {"cgroup.procs", "inner"} < set(os.listdir(mirrored))
            (mirrored / "inner").rmdir()
        finally:
            umount(str(covered))
    mirrored.rmdir()


def test_every_user_may_use_the_mirror(twin: Twin) -> None:
    listed = run(lambda: os.listdir(twin.mirror), identity=ALICE)
    content = run(lambda: (twin.mirror / "net.ingress_filter").read_text(), identity=ALICE)
    assert (set(listed) >= CONTROL_FILES, content) == (True, "none\n")


def test_a_file_larger_than_a_page_is_read_whole_in_every_way(twin: Twin) -> None:
    """A thousand and a half pids, by those who read ahead, in large pieces, in small ones and for writing."""
    with Child(twin.native) as child:
        child.call(start_threads, 1500)
        expected = (twin.native / "cgroup.threads").read_bytes()
        assert len(expected) > 4096
        for flags in (os.O_RDONLY, os.O_RDWR):
            for size in (1 << 20, 4096, 100):
                assert sorted(read_pieces(twin.mirror / "cgroup.threads", flags, size).split()) == sorted(
                    expected.split()
                )


def start_threads(count: int) -> None:
    """In a child: threads that wait until the process is killed."""
    import threading

    threading.stack_size(65536)
    for _ in range(count):
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def read_pieces(path: Path, flags: int, size: int) -> bytes:
    fd = os.open(path, flags)
    try:
        return b"".join(iter(lambda: os.read(fd, size), b""))
    finally:
        os.close(fd)


def test_processes_enter_by_the_mirror_and_are_seen_on_both(twin: Twin) -> None:
    with Child(twin.mirror) as child:
        assert processes(twin.native) == processes(twin.mirror) == [child.pid]
    assert processes(twin.mirror) == []
