"""The log's words: other people's names are one word, printable, and can be had back; refusals are rationed."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from cgfs.audit import MOST_REFUSALS, log_refused, quoted
from cgfs.caller import Caller, Credentials
from cgfs.control import CONTROL_FILES
from cgfs.target import Target

NAMES = [
    "",
    "plain",
    "a b",
    "line\nbreak",
    "\x1b[2J",
    'quote"',
    "back\\slash",
    "\x7f",
    "\x9b31m",
    "\u202e",
    "ünï",
    "\udcff",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_quoted_and_can_be_had_back(name: str) -> None:
    text = quoted(name)
    assert text[0] == text[-1] == '"'
    assert all(" " <= char <= "~" for char in text)
    assert json.loads(text) == name


def test_what_is_long_is_cut_and_says_so() -> None:
    assert quoted("x" * 200) == '"' + "x" * 200 + '"'
    assert quoted("x" * 201) == '"' + "x" * 200 + '... (201 characters)"'


def test_a_user_has_so_many_refusals_in_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    now = [1000.5]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    directory = os.open(tmp_path, os.O_RDONLY)
    target = Target(directory, 1, CONTROL_FILES[0])

    def lines(uid: int, number: int, times: int) -> int:
        caplog.clear()
        who, caller = Credentials(uid, uid, 1, "x", frozenset(), b""), Caller(os.getpid(), uid, uid)
        for _ in range(times):
            log_refused(target, who, caller, "nonsense", OSError(number, os.strerror(number)))
        return sum("filter refused: " in line for line in caplog.messages)

    try:
        assert lines(7, errno.EINVAL, MOST_REFUSALS + 5) == MOST_REFUSALS
        assert caplog.messages[-1] == "further refusals of whoever is behind uid=7 are left out in this second: user=7"
        assert lines(7, errno.EBUSY, 1) == 0
        assert lines(8, errno.EINVAL, 1) == 1
        assert lines(7, errno.EPERM, 100) == lines(7, errno.EACCES, 100) == 100
        now[0] += 1
        assert lines(7, errno.EINVAL, 1) == 1
    finally:
        os.close(directory)
