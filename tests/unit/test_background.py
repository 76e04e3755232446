"""cgfs/background.py: what the command learns from the daemon behind it, with daemons of a few lines."""

import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cgfs import background

Ready = Callable[[], None]


def wait_for_a_signal(ready: Ready) -> NoReturn:
    ready()
    while True:
        signal.pause()


@contextlib.contextmanager
def started(serve: Callable[[Ready], None]) -> Iterator[int]:
    pid = background.start(serve)
    try:
        yield pid
    finally:
        background.end(pid)


def test_start_returns_when_the_daemon_is_ready() -> None:
    with started(wait_for_a_signal) as pid:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)


def test_the_daemon_has_a_session_of_its_own_and_no_terminal() -> None:
    with started(wait_for_a_signal) as pid:
        assert os.getsid(pid) == pid
        streams = [Path(f"/proc/{pid}/fd/{number}").readlink() for number in (0, 1, 2)]
        assert streams == [Path("/dev/null")] * 3


def test_an_error_before_it_is_ready_is_raised_here_with_its_errno() -> None:
    def serve(ready: Ready) -> None:
        raise OSError(errno.EBUSY, "somebody else is there")

    with pytest.raises(OSError, match="somebody else is there") as caught:
        background.start(serve)
    assert caught.value.errno == errno.EBUSY


def test_an_error_after_it_was_ready_is_logged_and_written_nowhere_else(tmp_path: Path) -> None:
    log, other = tmp_path / "log", tmp_path / "other"

    def serve(ready: Ready) -> None:
        logging.getLogger().addHandler(logging.FileHandler(log))
        ready()
        with other.open("w"):  # the first number that is free
            raise OSError(errno.EIO, "later")

    pid = background.start(serve)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert "OSError: [Errno 5] later" in log.read_text()
    assert not other.read_text()


def test_an_unexpected_exception_is_named() -> None:
    def serve(ready: Ready) -> None:
        raise KeyError("lost")

    with pytest.raises(OSError, match="KeyError: 'lost'"):
        background.start(serve)


def exit_7() -> NoReturn:
    os._exit(7)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("last_act", "words"), [(exit_7, "exit status 7"), (die, "signal 9")])
def test_a_death_without_a_word_is_reported(last_act: Callable[[], None], words: str) -> None:
    with pytest.raises(OSError, match=words):
        background.start(lambda ready: last_act())


def test_no_process_is_left_after_a_failure() -> None:
    def children() -> str:
        return Path("/proc/thread-self/children").read_text()

    before = children()
    with pytest.raises(OSError, match="exit status 0"):
        background.start(lambda ready: None)
    assert children() == before
