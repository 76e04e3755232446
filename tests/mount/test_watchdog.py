"""A mount that hangs ends as a failed test and never as a stuck run; and requests can be made to wait."""

import os
import signal

import pytest

from tests.support.cgroups import temporary_cgroup
from tests.support.child import Child
from tests.support.daemon import Overlay, is_overlay
from tests.support.hold import held
from tests.support.places import public_directory
from tests.support.threads import stop, waiting_threads
from tests.support.waiting import until
from tests.support.watchdog import Watchdog


def test_a_hanging_mount_is_aborted_and_its_callers_come_back() -> None:
    watchdog = Watchdog(budget_s=1.0)
    with Overlay.started(public_directory() / "mirror", watchdog) as overlay, Child() as child:
        stop(overlay.pid)
        child.begin(os.listdir, overlay.mountpoint / "missing")
        with pytest.raises(OSError, match=r"not connected|abort"):
            child.result()
        until(lambda: not is_overlay(overlay.mountpoint), "the mount is gone")
        os.kill(overlay.pid, signal.SIGCONT)
        assert overlay.process.wait(30) == 0
    watchdog.close()


def test_a_held_directory_makes_a_mkdir_wait_until_it_is_released() -> None:
    with temporary_cgroup() as cgroup, Child() as child:
        with held(cgroup):
            child.begin(os.mkdir, cgroup / "new")
            until(lambda: waiting_threads(child.pid) == 1, "the mkdir waits")
            assert not child.finished()
        child.result()
        assert (cgroup / "new").is_dir()
