"""Who lists a directory of the mirror into memory that never comes keeps its lock: it harms that directory only.

For most of what the kernel is to be told about a directory it takes that lock (native/mirror/lanes.c).
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin, options_of, remount
from tests.support.child import Child
from tests.support.daemon import Overlay, is_overlay
from tests.support.hold import held
from tests.support.inotify import Event, Watcher
from tests.support.syscalls import MS_PRIVATE, MS_REC, mount
from tests.support.threads import state_of, waiting_threads
from tests.support.users import Namespaces
from tests.support.waiting import DEADLINE_S, until

STALLED = 12
MANY = 4500  # more names than are kept for one directory
both = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])


def make_with_child(directory: Path, overlay: Overlay) -> Path:
    """*directory* (on cgroup2) with a child whose name the kernel has for the mirror, too; the child."""
    (directory / "child").mkdir(parents=True)
    assert overlay.path(directory / "child").is_dir()
    return directory / "child"


def is_same(native: Path, mirrored: Path) -> bool:
    return mirrored.stat().st_ino == native.stat().st_ino


@contextlib.contextmanager
def stalled(overlay: Overlay, native: Path) -> Iterator[list[Path]]:
    """Directories of the mirror that somebody keeps locked, and that the kernel is to be told about. On cgroup2."""
    children = [make_with_child(native / f"stalled-{number}", overlay) for number in range(STALLED)]
    with held(*[overlay.path(child.parent) for child in children]):
        for child in children:
            child.rmdir()
        until(lambda: waiting_threads(overlay.pid) >= STALLED, "each waits for the lock of its directory")
        yield [child.parent for child in children]


@both
def test_what_others_remove_elsewhere_is_gone(overlay: Overlay, twin: Twin) -> None:
    children = [make_with_child(twin.native / f"other-{number}", overlay) for number in range(8)]
    with stalled(overlay, twin.native):
        for child in children:
            child.rmdir()
            until(lambda child=child: not overlay.path(child).exists(), "the kernel does not believe in it")  # type: ignore[misc]
            assert "child" not in os.listdir(overlay.path(child.parent))


@both
def test_what_was_removed_in_a_stalled_directory_is_gone_when_it_goes_on(overlay: Overlay, twin: Twin) -> None:
    with stalled(overlay, twin.native) as directories:
        for directory in directories[::2]:
            (directory / "child").mkdir()
    for number, directory in enumerate(directories):
        until(
            lambda number=number, directory=directory: overlay.path(directory / "child").exists() == (number % 2 == 0),  # type: ignore[misc]
            "it is as it is on cgroup2",
        )
        if number % 2 == 0:
            assert is_same(directory / "child", overlay.path(directory / "child"))


@both
def test_a_directory_made_anew_in_a_stalled_one_is_never_taken_for_the_former(overlay: Overlay, twin: Twin) -> None:
    """Whoever asks has to wait for the lock, as on cgroup2 where somebody waits to make or remove something."""
    with Child() as asking:
        with stalled(overlay, twin.native) as (directory, *_):
            (directory / "child").mkdir()
            asking.begin(os.stat, overlay.path(directory / "child"))
            until(lambda: waiting_threads(asking.pid) == 1, "it waits for the lock")
        assert asking.result().st_ino == (directory / "child").stat().st_ino


@pytest.mark.parametrize("overlay", [("ro",), ("ro", "nopassthrough")], indirect=True, ids=["passthrough", "direct"])
def test_who_is_on_his_way_in_a_directory_that_is_made_anew_finds_the_new_one(overlay: Overlay, twin: Twin) -> None:
    """He has passed the former one's name, and it has been forgotten since. On a mirror on which nothing is done for
    inotify, which would take locks, too.
    """
    directory = twin.native / "directory"
    child = make_with_child(directory, overlay)
    with Child() as walking:
        with held(overlay.path(directory)):
            child.rmdir()
            until(lambda: waiting_threads(overlay.pid) >= 1, "whoever comes next waits for the lock")
            walking.begin(os.stat, overlay.path(directory) / "below")
            until(lambda: waiting_threads(walking.pid) == 1, "he is in the directory")
            directory.rmdir()
            (directory / "below").mkdir(parents=True)
            until(lambda: is_same(directory, overlay.path(directory)), "the name stands for the new one")
        assert walking.result().st_ino == (directory / "below").stat().st_ino


@both
def test_what_is_mounted_on_a_new_directory_stays_there(overlay: Overlay, twin: Twin) -> None:
    """It is mounted at the moment in which those who watch are to be told that the directory was made."""
    (twin.native / "parent").mkdir()
    mirrored = overlay.path(twin.native / "parent")
    assert (mirrored / "cpu.pressure").exists()
    with Child(namespaces=Namespaces(mount=True)) as mounting:
        mounting.call(mount, "none", "/", None, MS_REC | MS_PRIVATE)
        with held(mirrored):
            (twin.native / "parent" / "cgroup.pressure").write_text("0")
            first = until(lambda: waiting_threads(overlay.pid), "the kernel is being told of the files that are gone")
            mounting.begin(mount, "tmpfs", str(mirrored / "new"), "tmpfs", 0)
            until(lambda: waiting_threads(mounting.pid) == 1, "it waits for the lock")
            (twin.native / "parent" / "new").mkdir()
            until(lambda: waiting_threads(overlay.pid) > first, "whoever lets inotify say so waits behind it")
        mounting.result()
        until(lambda: waiting_threads(overlay.pid) == 0, "all have been told")
        assert mounting.call(os.path.ismount, mirrored / "new")


@both
def test_more_than_can_be_told_of_a_stalled_directory_is_gone_too(overlay: Overlay, twin: Twin) -> None:
    children = [twin.native / "many" / f"child-{number}" for number in range(MANY)]
    (twin.native / "many").mkdir()
    for child in children:
        child.mkdir()
        assert overlay.path(child).is_dir()
    with held(overlay.path(twin.native / "many")):
        for child in children:
            child.rmdir()
        until(lambda: waiting_threads(overlay.pid) >= 1, "the kernel is being told")
    for child in children:
        until(lambda child=child: not overlay.path(child).exists(), "the kernel does not believe in it")  # type: ignore[misc]


def write_often(path: Path, text: str) -> None:
    """In a child."""
    for _ in range(10):
        path.write_text(text)


@both
def test_switching_controllers_does_not_wait_for_stalled_directories(
    overlay: Overlay, twin: Twin, cgroup2: Path
) -> None:
    """Neither above them nor elsewhere. To switch off what is off changes nothing, and is told as any other."""
    (twin.native / "other").mkdir()
    off = "-" + (cgroup2 / "cgroup.controllers").read_text().split()[0]
    with stalled(overlay, twin.native), Child() as switching:
        for directory in (twin.mirror / "other", twin.mirror):
            switching.begin(write_often, directory / "cgroup.subtree_control", off)
            switching.result(deadline_s=DEADLINE_S)


def make_with_number(parent: Path, divisor: int) -> Path:
    """A new directory in *parent* whose number *divisor* divides. Each one that is tried has a name of its own."""
    for attempt in range(20 * divisor):
        directory = parent / f"numbered-{attempt}"
        directory.mkdir()
        if directory.stat().st_ino % divisor == 0:
            return directory
        directory.rmdir()
    raise AssertionError(f"no directory has a number that {divisor} divides")


def toggle(directory: Path) -> None:
    """Switch *directory*'s pressure files off and on, and see that it is so. In a child."""
    for word, there in ((b"0", False), (b"1", True)) * 2:
        switch = os.open(directory / "cgroup.pressure", os.O_WRONLY)
        os.write(switch, word)
        os.close(switch)
        assert ("cpu.pressure" in os.listdir(directory)) == there
        assert (directory / "cpu.pressure").exists() == there


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "nameless"])
@both
def test_what_a_switch_does_is_seen_though_its_neighbour_is_stalled(
    overlay: Overlay, twin: Twin, cgroup2: Path, is_named: bool
) -> None:
    """The files of a cgroup have numbers near to that of the cgroup that was made just before it. Where cgroup2 has
    dropped their names, the numbers are all that is known of them.
    """
    neighbour = make_with_number(twin.native, 64)
    (twin.native / "victim").mkdir()
    assert (twin.native / "victim" / "cgroup.pressure").stat().st_ino // 64 == neighbour.stat().st_ino // 64
    child = make_with_child(neighbour, overlay)
    for name in os.listdir(twin.mirror / "victim"):
        (twin.mirror / "victim" / name).stat()
    if not is_named:
        remount(cgroup2, options_of(cgroup2))  # drops the names that it has
    with held(overlay.path(neighbour)), Child() as toggling:
        child.rmdir()
        until(lambda: waiting_threads(overlay.pid) >= 1, "the kernel is being told")
        toggling.begin(toggle, twin.mirror / "victim")
        toggling.result(deadline_s=DEADLINE_S)


@both
def test_what_was_changed_during_a_listing_is_believed_after_it(overlay: Overlay, twin: Twin) -> None:
    """The listing brings attributes that the kernel believes when it goes on."""
    changed = twin.native / "cgroup.max.depth"
    with held(twin.mirror):
        changed.chmod(0o600)
    until(lambda: (twin.mirror / changed.name).stat().st_mode == changed.stat().st_mode, "the new mode is seen")


@both
def test_watchers_elsewhere_see_what_others_do(overlay: Overlay, twin: Twin) -> None:
    (twin.native / "other").mkdir()
    with stalled(overlay, twin.native), Watcher(twin.mirror / "other") as watcher:
        (twin.native / "other" / "new").mkdir()
        watcher.wait_for(Event.CREATE, "new")


def test_a_signal_ends_the_daemon_while_a_directory_is_stalled(start_overlay: StartOverlay, tmp_cgroup: Path) -> None:
    """Its mount is gone and its users are told so. The kernel keeps what is left of the process until its last thread
    has the lock.
    """
    with start_overlay() as overlay:
        overlay.expect_in_log("in use")
        with stalled(overlay, tmp_cgroup):
            os.kill(overlay.pid, signal.SIGTERM)
            until(lambda: not is_overlay(overlay.mountpoint), "it is unmounted")
            until(lambda: state_of(Path(f"/proc/{overlay.pid}")) == "Z", "the daemon has ended")
        assert overlay.process.wait(DEADLINE_S) == 0


def test_the_end_waits_for_nobody_who_waits_on_cgroup2(start_overlay: StartOverlay, tmp_cgroup: Path) -> None:
    with start_overlay() as overlay:
        overlay.expect_in_log("in use")
        with Child() as maker, held(tmp_cgroup):
            maker.begin(_try_to_make, overlay.path(tmp_cgroup) / "late")
            until(lambda: waiting_threads(overlay.pid) == 1, "the daemon waits for the lock")
            os.kill(overlay.pid, signal.SIGTERM)
            until(lambda: not is_overlay(overlay.mountpoint), "it is unmounted")
            until(lambda: state_of(Path(f"/proc/{overlay.pid}")) == "Z", "the daemon has ended")
            maker.result(deadline_s=DEADLINE_S)
        assert overlay.process.wait(DEADLINE_S) == 0


def _try_to_make(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.mkdir()
