"""The edge to C: every error becomes an errno that the kernel takes, and none goes further."""

import errno
import logging

import pytest

from cgfs._native import ffi
from cgfs.edge import called_from_c


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
