"""The edge to C: every error becomes an errno that the kernel takes, and none goes further."""

import errno
import logging
from typing import Any

import pytest

from cgfs import edge
from cgfs._native import ffi
from cgfs.caller import Caller, Credentials
from cgfs.edge import Snapshot, called_from_c


class Raising:
    """Raises *error*, if there is one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@called_from_c
def _act(control: Raising, result: int | None) -> int | None:
    if control.error is not None:
        raise control.error
    return result


def outcome(error: BaseException | None, result: int | None = None) -> int:
    handle = ffi.new_handle(Raising(error))  # lives until the call has returned
    return _act(handle, result)


def test_a_result_passes() -> None:
    assert outcome(None) == 0
    assert outcome(None, 7) == 7


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EBUSY, "busy"), errno.EBUSY),
        (PermissionError(errno.EPERM, "no"), errno.EPERM),
        (OSError("without a number"), errno.EIO),
        (OSError(524, "ENOTSUPP, which is the kernel's own"), errno.EIO),
        (OSError(-1, "nonsense"), errno.EIO),
        (OSError(0, "no error"), errno.EIO),
    ],
)
def test_an_os_error_becomes_its_errno(error: OSError, number: int) -> None:
    assert outcome(error) == -number


def test_anything_else_is_eio_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert outcome(ZeroDivisionError("surprise")) == -errno.EIO
    assert "act of a control file" in caplog.text
    assert "ZeroDivisionError: surprise" in caplog.text


class Deciding:
    """Notes what it is asked, and says *content*."""

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self.asked: list[object] = []

    def snapshot(self, node: int) -> Snapshot:
        self.asked.append(node)
        return Snapshot(1, 2, 0o640, self._content, 3, 4, lasting=True)

    def setattr(self, *arguments: object, **changes: object) -> None:
        self.asked.append((arguments, changes))

    def write(self, *arguments: object) -> None:
        self.asked.append(arguments)

    def ioctl(self, *arguments: object) -> None:
        self.asked.append(arguments)


CALLER = Caller(1, 2, 2**32 - 2)


def c_caller() -> Any:
    return ffi.new("struct cgfs_caller *", (CALLER.tid, CALLER.uid, CALLER.gid))


def c_opener() -> Any:
    return ffi.new("struct cgfs_credentials *", {"uid": 7, "tgid": 8, "comm": b"opener", "groups": 0})


OPENER = Credentials(7, 0, 8, "opener", frozenset(), b"")


def test_what_is_not_to_be_changed_is_none() -> None:
    control = Deciding()
    handle = ffi.new_handle(control)
    change = ffi.new("struct cgfs_control_change *", {"mode": -1, "uid": 0, "gid": 2**32 - 2})
    assert edge.OPERATIONS.setattr(handle, 7, c_caller(), change) == 0
    assert control.asked == [((7, CALLER), {"mode": None, "uid": 0, "gid": 2**32 - 2})]


@pytest.mark.parametrize(("content", "outcome"), [(b"", 0), (b"none\n", 5), (b"longer", -errno.EFBIG)])
def test_a_content_is_put_where_there_is_room(content: bytes, outcome: int) -> None:
    handle = ffi.new_handle(Deciding(content))
    data, snapshot = ffi.new("char[]", 8), ffi.new("struct cgfs_control_snapshot *")
    assert edge.OPERATIONS.snapshot(handle, 7, snapshot, data, 5) == outcome
    assert bytes(ffi.buffer(data)) == (content if outcome >= 0 else b"").ljust(8, b"\0")
    if outcome >= 0:
        assert (snapshot.uid, snapshot.gid, snapshot.mode) == (1, 2, 0o640)
        assert (snapshot.modified_ns, snapshot.changed_ns, snapshot.lasting) == (3, 4, True)


def test_whoever_has_not_opened_for_writing_is_none() -> None:
    control = Deciding()
    handle = ffi.new_handle(control)
    data = ffi.new("char[]", b"data")
    assert edge.OPERATIONS.ioctl(handle, 7, ffi.NULL, c_caller(), 9, data, 4) == 0
    assert edge.OPERATIONS.ioctl(handle, 7, c_opener(), c_caller(), 9, data, 2) == 0
    assert control.asked == [(7, None, CALLER, 9, b"data"), (7, OPENER, CALLER, 9, b"da")]


def test_a_write_comes_with_its_opener_and_its_writer() -> None:
    control = Deciding()
    handle = ffi.new_handle(control)
    assert edge.OPERATIONS.write(handle, 7, c_opener(), c_caller(), ffi.new("char[]", b"none"), 4) == 0
    assert control.asked == [(7, OPENER, CALLER, b"none")]
