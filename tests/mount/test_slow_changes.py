"""A change that takes long, because somebody keeps the cgroup's directory busy, holds up nothing but itself."""

import os
import threading
from pathlib import Path

from tests.mount.conftest import Twin
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.child import Child
from tests.support.control import opened
from tests.support.daemon import Overlay
from tests.support.hold import held
from tests.support.programs import ALLOW, CONTROL_FILE, Hook, program
from tests.support.threads import waiting_threads
from tests.support.users import ALICE, delegate
from tests.support.waiting import until

SOCKET = CONTROL_FILE[Hook.SOCKET_CREATE]
EGRESS = CONTROL_FILE[Hook.EGRESS]
SHARE_OF_USER = 64  # native/mirror/loop_share.c


def test_a_slow_attach_holds_up_no_reader_of_the_same_file(overlay: Overlay, twin: Twin) -> None:
    """What is written to a directory's attributes waits for whoever makes or lists something there."""
    path = twin.mirror / EGRESS
    with (
        program(Hook.EGRESS) as slow,
        program(Hook.EGRESS, ALLOW, salt=1) as other,
        Child() as child,
        opened(path) as reader,
    ):
        assert path.stat().st_size == 5
        with held(twin.native):
            child.begin(control.attach, path, slow)
            until(lambda: waiting_threads(overlay.pid) >= 1, "the attach waits")
            assert os.pread(reader, 100, 0) == b"none\n"
            programs.attach(twin.native, other, Hook.EGRESS)
            assert os.pread(reader, 100, 0) == control.shown(other).encode()
            assert path.stat().st_size == len(control.shown(other))
            assert not child.finished()
        child.result()
        assert path.read_text() == control.shown(other) + control.shown(slow)


def write_in_threads(paths: list[Path], text: str) -> None:
    """In a child: write *text* to each of *paths*, all at once."""
    threads = [threading.Thread(target=path.write_text, args=(text,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_more_slow_changes_than_one_user_may_wait_for_hold_up_nobody_else(overlay: Overlay, twin: Twin) -> None:
    """Alice keeps all her directories busy and changes a filter in each."""
    delegate(twin.native, ALICE.uid, ALICE.gid)
    names = [f"hers-{number}" for number in range(SHARE_OF_USER + 30)]
    with Child(identity=ALICE) as alice:
        for name in names:
            alice.call(os.mkdir, twin.mirror / name)
    paths = [twin.mirror / name / SOCKET for name in names]
    assert {path.read_text() for path in paths} == {"none\n"}
    with Child(identity=ALICE) as alice, program(Hook.SOCKET_CREATE, ALLOW) as allow:
        with held(*(twin.native / name for name in names)):
            alice.begin(write_in_threads, paths, "families:inet,inet6")
            until(lambda: waiting_threads(overlay.pid) >= SHARE_OF_USER, "all that may wait for Alice do")
            assert {(twin.mirror / name).read_text() for name in CONTROL_FILE.values()} == {"none\n"}
            control.attach(twin.mirror / SOCKET, allow)
            assert (twin.mirror / SOCKET).read_text() == control.shown(allow)
            (twin.mirror / SOCKET).write_text("none")
            (twin.mirror / "made").mkdir()
            assert (twin.mirror / "made" / SOCKET).read_text() == "none\n"
            assert not alice.finished()
        alice.result()
    assert {path.read_text() for path in paths} == {"families:inet,inet6\n"}
    assert {len(attached_ids(twin.native / name, Hook.SOCKET_CREATE)) for name in names[:3]} == {1}
