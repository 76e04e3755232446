"""inotify on the mirror: what others do on cgroup2 is seen by those who watch the mirror."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import programs
from tests.support.cgroups import is_populated
from tests.support.child import Child
from tests.support.command import foreground
from tests.support.control import attach, shown
from tests.support.inotify import Event, Seen, Watcher
from tests.support.places import public_directory
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.waiting import DEADLINE_S, until
from tests.support.watchdog import Watchdog, abort_mount

both = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])


@both
def test_a_watcher_of_an_open_events_file_sees_each_change(twin: Twin) -> None:
    path = twin.mirror / "cgroup.events"
    with path.open(), Watcher(path) as file, Watcher(twin.mirror) as directory:
        with Child(twin.native):
            file.wait_for(Event.MODIFY)
            directory.wait_for(Event.MODIFY, "cgroup.events")
            file.seen.clear()
            directory.seen.clear()
            until(lambda: is_populated(twin.native), "populated")
        file.wait_for(Event.MODIFY)
        directory.wait_for(Event.MODIFY, "cgroup.events")


@both
def test_a_watcher_reads_what_has_changed(twin: Twin) -> None:
    """As systemd does: an event, then the file."""
    path = twin.mirror / "cgroup.events"
    with Child(twin.native), path.open("rb", buffering=0) as events, Watcher(path) as watcher:
        for frozen in [1, 0] * 5:
            (twin.native / "cgroup.freeze").write_text(f"{frozen}")
            while b"frozen %d" % frozen not in os.pread(events.fileno(), 4096, 0):
                watcher.seen.clear()
                watcher.wait_for(Event.MODIFY)


@both
@pytest.mark.parametrize("hook", Hook)
def test_a_watcher_of_a_control_file_sees_it_change(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with programs.program(hook) as prog_fd, Watcher(path) as watcher, Watcher(twin.mirror) as directory:
        attach(path, prog_fd)
        watcher.wait_for(Event.MODIFY)
        directory.wait_for(Event.MODIFY, CONTROL_FILE[hook])
        assert path.read_text() == shown(prog_fd)
        path.write_text("none\n")
    assert path.read_text() == "none\n"


@both
def test_a_watcher_sees_cgroups_made_and_removed_by_others(twin: Twin) -> None:
    with Watcher(twin.mirror) as mirror, Watcher(twin.native) as native:
        for name in ("a", "b"):
            (twin.native / name).mkdir()
            mirror.wait_for(Event.CREATE, name)
            assert (twin.mirror / name).is_dir()
        for name in ("a", "b"):
            (twin.native / name).rmdir()
            mirror.wait_for(Event.DELETE, name)
            assert not (twin.mirror / name).exists()
        # What raises the events on the mirror does nothing on cgroup2.
        expected = [Seen(event, name) for event in (Event.CREATE, Event.DELETE) for name in ("a", "b")]
        assert native.take() == mirror.take() == expected


@both
def test_a_watcher_sees_a_cgroup_removed_by_others_that_nobody_has_looked_at(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    with Watcher(twin.mirror) as watcher:
        (twin.native / "a").rmdir()
        watcher.wait_for(Event.DELETE, "a")


@both
def test_a_watcher_of_a_directory_sees_its_removal_by_others(twin: Twin) -> None:
    (twin.native / "a").mkdir()
    until((twin.mirror / "a").is_dir, "the cgroup is there")
    with Watcher(twin.mirror / "a", Event.DELETE_SELF) as watcher:
        (twin.native / "a").rmdir()
        watcher.wait_for(Event.DELETE_SELF)


@both
def test_a_watcher_sees_what_is_done_on_the_mirror_once(twin: Twin) -> None:
    with Watcher(twin.mirror) as mirror, Watcher(twin.native) as native:
        (twin.mirror / "a").mkdir()
        (twin.mirror / "a").rmdir()
        (twin.native / "last").mkdir()
        mirror.wait_for(Event.CREATE, "last")
        expected = [Seen(Event.CREATE, "a"), Seen(Event.DELETE, "a"), Seen(Event.CREATE, "last")]
        assert mirror.seen == native.take() == expected


# --- the end ------------------------------------------------------------------------------------------------------


def make_and_remove(cgroup: Path, count: int) -> None:
    for _ in range(count):
        cgroup.mkdir()
        cgroup.rmdir()


@contextlib.contextmanager
def much_to_see(native: Path, mirror: Path) -> Iterator[None]:
    """Somebody watches the directory on the mirror, and others do things in it on cgroup2."""
    with Child() as changing, Watcher(mirror) as watcher:
        changing.begin(make_and_remove, native / "a", 100_000)
        watcher.wait_for(Event.CREATE, "a")
        yield


def test_an_unmount_is_clean_while_others_change_what_is_watched(start_overlay: StartOverlay, tmp_cgroup: Path) -> None:
    with contextlib.ExitStack() as others, start_overlay() as overlay:
        others.enter_context(much_to_see(tmp_cgroup, overlay.path(tmp_cgroup)))


@pytest.mark.parametrize("_time", range(10))
def test_a_killed_daemon_ends_while_others_change_what_is_watched(
    watchdog: Watchdog, tmp_cgroup: Path, tmp_path: Path, _time: int
) -> None:
    """Also while a thread of its own waits for a lock, and whoever has the lock for an answer.

    It takes luck to meet that moment: so ten times.
    """
    mountpoint = public_directory()
    watchdog.guard(mountpoint)
    try:
        with (
            foreground(mountpoint, tmp_cgroup, log=tmp_path / "log") as daemon,
            much_to_see(tmp_cgroup, mountpoint),
        ):
            daemon.kill()
            daemon.wait(DEADLINE_S)
    finally:
        abort_mount(mountpoint)
        watchdog.release(mountpoint)
