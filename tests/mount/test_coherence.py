"""What others do on the cgroup2 mount is seen on the mirror, whatever the kernel had cached of it."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support.cgroups import cgroup_id, is_populated, processes
from tests.support.child import Child, run
from tests.support.control import error_of
from tests.support.daemon import Overlay, open_descriptors
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.users import ALICE
from tests.support.waiting import until

GONE = (errno.ENOENT, errno.ENODEV)


def seen(path: Path) -> tuple[int, ...] | int:
    """What stat says of *path*, or its errno."""
    try:
        found = path.lstat()
    except OSError as error:
        assert error.errno is not None
        return error.errno
    return found.st_ino, found.st_mode, found.st_uid, found.st_gid


def cache(twin: Twin, name: str = "a") -> Twin:
    """A child of *twin*, of which the kernel has everything cached."""
    child = Twin(twin.native / name, twin.mirror / name)
    child.native.mkdir()
    until(lambda: seen(child.mirror) == seen(child.native), "the new cgroup is seen")
    for entry in os.scandir(child.mirror):
        entry.stat()
    return child


def wait_for_sameness(twin: Twin, *names: str) -> None:
    for name in names:
        until(
            lambda name=name: seen(twin.mirror / name) == seen(twin.native / name),  # type: ignore[misc]
            f"{name} is the same on cgroup2 and on the mirror",
        )


def test_a_cgroup_made_by_others_is_there_and_in_the_listing(twin: Twin) -> None:
    assert seen(twin.mirror / "a") == errno.ENOENT
    before = twin.mirror.stat().st_nlink
    assert "a" not in os.listdir(twin.mirror)
    (twin.native / "a").mkdir()
    wait_for_sameness(twin, "a", "a/cgroup.procs")
    until(lambda: "a" in os.listdir(twin.mirror), "the new cgroup is listed")
    until(lambda: twin.mirror.stat().st_nlink == before + 1, "the number of links has grown")


def test_a_cgroup_removed_by_others_is_gone_with_its_files(twin: Twin) -> None:
    child = cache(twin)
    child.native.rmdir()
    wait_for_sameness(twin, "a", "a/cgroup.procs")
    assert seen(child.mirror / CONTROL_FILE[Hook.INGRESS]) == errno.ENOENT
    until(lambda: "a" not in os.listdir(twin.mirror), "the removed cgroup is listed no more")


def test_a_cgroup_made_anew_under_the_same_name_is_the_new_one(twin: Twin) -> None:
    child = cache(twin)
    before = cgroup_id(child.native)
    for _ in range(20):
        child.native.rmdir()
        child.native.mkdir()
        wait_for_sameness(twin, "a", "a/cgroup.procs")
    assert cgroup_id(child.mirror) != before
    with Child(child.mirror) as inside:
        assert processes(child.native) == [inside.pid]


def test_owners_and_modes_changed_by_others_are_seen(twin: Twin) -> None:
    child = cache(twin)
    for name in ("", "cgroup.procs"):
        os.chown(child.native / name, 5, 6)
        wait_for_sameness(child, name)
        (child.native / name).chmod(0o711)
        wait_for_sameness(child, name)


def test_a_directory_delegated_by_others_can_be_used(twin: Twin) -> None:
    child = cache(twin)

    def make() -> bool:
        try:
            (child.mirror / "b").mkdir()
        except PermissionError:
            return False
        return True

    assert not run(make, identity=ALICE)
    os.chown(child.native, ALICE.uid, ALICE.gid)
    until(lambda: run(make, identity=ALICE), "the new owner may make cgroups")
    assert (child.native / "b").stat().st_uid == ALICE.uid


def test_files_that_the_kernel_hides_and_shows_again_are_not_believed(twin: Twin) -> None:
    child = cache(twin)
    for path in (child.native, child.mirror):
        (path / "cgroup.pressure").write_text("0")
        wait_for_sameness(child, "cpu.pressure", "memory.pressure")
        assert seen(child.mirror / "cpu.pressure") == errno.ENOENT
        (path / "cgroup.pressure").write_text("1")
        wait_for_sameness(child, "cpu.pressure", "memory.pressure")
        assert seen(child.mirror / "cpu.pressure") != errno.ENOENT


def test_what_is_hidden_through_the_mirror_is_gone_at_once(twin: Twin) -> None:
    child = cache(twin)
    for _ in range(30):
        for word, there in (("0", False), ("1", True)):
            (child.mirror / "cgroup.pressure").write_text(word)
            assert ("cpu.pressure" in os.listdir(child.mirror)) == there
            assert (seen(child.mirror / "cpu.pressure") != errno.ENOENT) == there


def test_the_daemon_keeps_nothing_open_of_what_is_hidden_through_the_mirror(overlay: Overlay, twin: Twin) -> None:
    child = cache(twin)
    (child.mirror / "cpu.pressure").read_text()
    switch = os.open(child.mirror / "cgroup.pressure", os.O_WRONLY)
    os.write(switch, b"0")
    os.close(switch)
    until(
        lambda: not [each for each in open_descriptors(overlay.pid) if "cpu.pressure" in each],
        "the file that was read is not kept open",
    )


def test_who_is_in_a_directory_stays_in_it_whatever_others_change(twin: Twin) -> None:
    """What the kernel forgets of a directory is not the directory."""
    child = cache(twin)
    with Child() as inside:
        inside.call(os.chdir, child.mirror)
        os.chown(child.native, 5, 6)
        (child.native / "b").mkdir()
        (child.native / "cgroup.pressure").write_text("0")
        (twin.native / "c").mkdir()
        (twin.native / "c").rmdir()
        wait_for_sameness(child, "", "b", "cpu.pressure")
        assert inside.call(os.getcwd) == str(child.mirror)
        until(lambda: "b" in inside.call(os.listdir), "what was made there is listed")


@pytest.fixture
def controller(cgroup2: Path) -> Iterator[str]:
    """A controller that the children of the root have for as long as the test runs. To be asked for before any
    cgroup, so that it outlives them.
    """
    name = (cgroup2 / "cgroup.controllers").read_text().split()[0]
    enabled = cgroup2 / "cgroup.subtree_control"
    before = enabled.read_text().split()
    enabled.write_text(f"+{name}")
    try:
        yield name
    finally:
        if name not in before:
            enabled.write_text(f"-{name}")


def files_of(controller: str, path: Path) -> set[str]:
    return {name for name in os.listdir(path) if name.startswith(f"{controller}.")}


def test_a_controller_switched_by_others_brings_and_takes_its_files(controller: str, twin: Twin) -> None:
    child = cache(twin)
    for _ in range(3):
        (twin.native / "cgroup.subtree_control").write_text(f"+{controller}")
        names = files_of(controller, child.native)
        assert names
        wait_for_sameness(child, *names)
        until(lambda: files_of(controller, child.mirror) == names, "the new files are listed")  # noqa: B023
        (twin.native / "cgroup.subtree_control").write_text(f"-{controller}")
        wait_for_sameness(child, *names)
        until(lambda: not files_of(controller, child.mirror), "the files are listed no more")


def test_a_controller_switched_through_the_mirror_is_seen_at_once(controller: str, twin: Twin) -> None:
    child = cache(twin)
    for _ in range(3):
        (twin.mirror / "cgroup.subtree_control").write_text(f"+{controller}")
        names = files_of(controller, child.native)
        assert names
        assert files_of(controller, child.mirror) == names
        assert all(seen(child.mirror / name) == seen(child.native / name) for name in names)
        (twin.mirror / "cgroup.subtree_control").write_text(f"-{controller}")
        assert not files_of(controller, child.mirror)
        assert {seen(child.mirror / name) for name in names} == {errno.ENOENT}


def read_twice(path: Path) -> None:
    """So that the mirror need not look for the file when it is opened next."""
    for _ in range(2):
        path.read_bytes()


def hide_pressure(child: Path) -> None:
    (child / "cgroup.pressure").write_text("0")


@pytest.mark.parametrize(
    ("file", "take_away"), [("cgroup.events", Path.rmdir), ("cpu.pressure", hide_pressure)], ids=["removed", "hidden"]
)
def test_a_file_that_was_read_and_is_taken_away_by_others_is_gone_at_once(
    twin: Twin, file: str, take_away: Callable[[Path], object]
) -> None:
    for number in range(50):
        name = f"a{number}"
        (twin.native / name).mkdir()
        read_twice(twin.mirror / name / file)
        take_away(twin.native / name)
        with pytest.raises(FileNotFoundError):
            (twin.mirror / name / file).read_bytes()


def test_a_file_that_was_read_is_gone_at_once_with_its_controller(controller: str, twin: Twin) -> None:
    (twin.native / "a").mkdir()
    for _ in range(20):
        (twin.native / "cgroup.subtree_control").write_text(f"+{controller}")
        name = min(files_of(controller, twin.native / "a"))
        read_twice(twin.mirror / "a" / name)
        (twin.native / "cgroup.subtree_control").write_text(f"-{controller}")
        with pytest.raises(FileNotFoundError):
            (twin.mirror / "a" / name).read_bytes()


def test_a_file_that_was_read_before_has_its_attributes_while_it_is_open_whatever_becomes_of_it(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    read_twice(twin.mirror / "a" / "cgroup.events")
    before = (twin.mirror / "a" / "cgroup.events").stat()
    with (twin.mirror / "a" / "cgroup.events").open("rb") as file:
        (twin.native / "a").rmdir()
        until(lambda: seen(twin.mirror / "a") == errno.ENOENT, "the removed cgroup is gone")
        with pytest.raises(OSError, match="No such device"):
            file.read()
        found = os.fstat(file.fileno())
        assert (found.st_ino, found.st_mode, found.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


@pytest.mark.parametrize("file", ["cgroup.procs", "cgroup.subtree_control", "cgroup.freeze", "cgroup.events"])
def test_an_open_file_of_a_removed_cgroup_never_reaches_a_new_one_of_that_name(twin: Twin, file: str) -> None:
    child = cache(twin)
    with Child() as outside:
        reader = os.open(child.mirror / file, os.O_RDONLY)
        writer = os.open(child.mirror / file, os.O_WRONLY) if file != "cgroup.events" else -1
        try:
            os.pread(reader, 4096, 0)
            child.native.rmdir()
            child.native.mkdir()
            wait_for_sameness(twin, "a", f"a/{file}")
            assert_gone(lambda: os.pread(reader, 4096, 0))
            if writer >= 0:
                assert_gone(lambda: os.write(writer, b"%d" % outside.pid))
            assert not is_populated(child.native)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)


def assert_gone(act: Callable[[], object]) -> None:
    with pytest.raises(OSError) as raised:
        act()
    assert raised.value.errno == errno.ENODEV


def test_a_directory_open_when_its_cgroup_was_removed_shows_nothing_of_a_new_one(twin: Twin) -> None:
    child = cache(twin)
    directory = os.open(child.mirror, os.O_RDONLY | os.O_DIRECTORY)
    try:
        child.native.rmdir()
        child.native.mkdir()
        wait_for_sameness(twin, "a", "a/cgroup.procs")
        with pytest.raises(FileNotFoundError):
            os.open("cgroup.procs", os.O_RDONLY, dir_fd=directory)
        with pytest.raises(FileNotFoundError):
            os.mkdir("b", dir_fd=directory)
        assert not (child.native / "b").exists()
    finally:
        os.close(directory)


def test_who_was_in_a_removed_directory_finds_the_new_one_by_its_path(twin: Twin) -> None:
    """Also before the kernel has forgotten the name."""
    child = cache(twin)
    with Child() as inside:
        for _ in range(20):
            inside.call(os.chdir, child.mirror)
            child.native.rmdir()
            for _ in range(2):
                assert error_of(lambda: inside.call(os.stat, "missing")) in (errno.ENOENT, errno.ESTALE)
            (child.native / "below").mkdir(parents=True)
            inside.call(os.stat, child.mirror / "below")
            inside.call(os.chdir, "/")
            (child.native / "below").rmdir()
            wait_for_sameness(twin, "a")


def test_after_any_changes_by_anybody_both_sides_are_the_same(twin: Twin) -> None:
    """Changes from both sides, while others have everything cached over and over; then quiet."""
    for index in range(3):
        cache(twin, f"d{index}")
    with Child() as first, Child() as second, Child() as third, Child() as reader:
        reader.begin(walk_again_and_again, twin.mirror, 40)
        for number, each in enumerate((first, second, third)):
            each.begin(change_at_random, twin, number, 400)
        for each in (first, second, third, reader):
            each.result()
    until(lambda: snapshot(twin.native) == snapshot(twin.mirror), "cgroup2 and the mirror are the same")


def change_at_random(twin: Twin, seed: int, count: int) -> None:
    source = random.Random(seed)
    for _ in range(count):
        path = source.choice((twin.native, twin.native, twin.mirror)) / f"d{source.randrange(3)}/n{source.randrange(3)}"
        act = source.choice((Path.mkdir, Path.mkdir, Path.rmdir, hide_or_show, give_away, give_file_away))
        try:
            act(path)
        except OSError as error:
            # EIO: the kernel was about to open the file when its cgroup was removed.
            assert error.errno in (*GONE, errno.EEXIST, errno.ESTALE, errno.EIO, errno.EPERM), error


def hide_or_show(path: Path) -> None:
    fd = os.open(path / "cgroup.pressure", os.O_WRONLY)
    try:
        os.write(fd, random.choice((b"0", b"1")))
    finally:
        os.close(fd)


def give_away(path: Path) -> None:
    os.chown(path, random.randrange(9), 0)


def give_file_away(path: Path) -> None:
    os.chown(path / "cgroup.procs", random.randrange(9), 0)


def walk_again_and_again(path: Path, count: int) -> None:
    for _ in range(count):
        snapshot(path)


def snapshot(path: Path) -> dict[str, tuple[int, ...] | int]:
    """Everything below *path* but the control files, by what stat says; files that may be hidden are asked
    for, too.
    """
    found: dict[str, tuple[int, ...] | int] = {}
    for directory, subdirectories, files in os.walk(path):
        for name in {*subdirectories, *files, "cpu.pressure"} - set(CONTROL_FILE.values()):
            entry = Path(directory) / name
            found[str(entry.relative_to(path))] = seen(entry)
    return found


def test_a_mirror_of_one_cgroup_sees_what_others_do_in_it(start_overlay: StartOverlay, tmp_cgroup: Path) -> None:
    with start_overlay(source=tmp_cgroup) as overlay:
        twin = Twin(tmp_cgroup, overlay.mountpoint)
        child = cache(twin)
        os.chown(tmp_cgroup, 5, 6)
        until(lambda: twin.mirror.stat().st_uid == 5, "the new owner of the source is seen")
        child.native.rmdir()
        wait_for_sameness(twin, "a")
