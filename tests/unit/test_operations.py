"""The edge to pyfuse3: every error becomes one that it takes, and none ends the mount."""

import errno
import logging

import pytest
from pyfuse3 import FUSEError

from cgfs.handles import OpenFile, OpenFiles
from cgfs.operations import Operations, at_the_edge


class Handlers(Operations):
    """A handler that fails with *error*."""

    def __init__(self) -> None:
        self.error: BaseException = OSError()


@at_the_edge
async def act(operations: Operations, word: str, /) -> str:
    if word == "fail":
        assert isinstance(operations, Handlers)
        raise operations.error
    return word * 2


async def test_a_result_passes() -> None:
    assert await act(Handlers(), "x") == "xx"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EBUSY, "busy"), errno.EBUSY),
        (PermissionError(errno.EPERM, "no"), errno.EPERM),
        (OSError("without a number"), errno.EIO),
        (OSError(524, "ENOTSUPP, which is the kernel's own"), errno.EIO),
        (OSError(-1, "nonsense"), errno.EIO),
    ],
)
async def test_an_os_error_becomes_its_errno(error: OSError, number: int) -> None:
    handlers = Handlers()
    handlers.error = error
    with pytest.raises(FUSEError) as caught:
        await act(handlers, "fail")
    assert caught.value.errno == number


async def test_anything_else_is_eio_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    handlers = Handlers()
    handlers.error = ZeroDivisionError("surprise")
    with caplog.at_level(logging.ERROR), pytest.raises(FUSEError) as caught:
        await act(handlers, "fail")
    assert caught.value.errno == errno.EIO
    assert "act of a control file" in caplog.text
    assert "ZeroDivisionError: surprise" in caplog.text


async def test_the_end_of_the_daemon_is_no_error() -> None:
    handlers = Handlers()
    handlers.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        await act(handlers, "fail")


def test_a_file_handle_is_never_used_again() -> None:
    files = OpenFiles()
    first = files.add(OpenFile(1, None))
    files.remove(first)
    second = files.add(OpenFile(2, None))
    assert first != second
    assert files.get(second).node == 2
    with pytest.raises(OSError) as caught:
        files.get(first)
    assert caught.value.errno == errno.EBADF
    files.remove(first)
